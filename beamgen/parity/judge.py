"""Where two searches part, and whether either answer is right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from beamgen.package import Package
from beamgen.parity.reference import Reference
from beamgen.parity.report import (
    NEAR_TIE_MARGIN,
    SCORE_TOLERANCE,
    CaseResult,
    ParityCase,
    Parting,
    Verdict,
    near,
    same_row,
)
from beamgen.runtime import BeamOutput
from beamgen.search.trace import RowStep, SearchTrace, Tokens, read_trace, with_trace_outputs


class Judge:
    """Finds out where two searches part, and whether either answer is right."""

    def __init__(self, reference: Reference, package: Package) -> None:
        """Load the package's graph once more, with its trace as further outputs."""
        self._reference = reference
        self._session = _traced_session(package)

    def __call__(self, case: ParityCase, expected: BeamOutput, found: BeamOutput) -> CaseResult:
        """The verdict on a case whose outputs differ, row by row."""
        reshaped = expected.sequences.shape != found.sequences.shape
        judged = [
            self._judge_row(case, row, expected, found)
            for row in range(len(case.prompts))
            if reshaped or not same_row(expected, found, row)
        ]
        partings = [parting for parting in judged if parting is not None] or [
            # every row's search agrees, and yet the outputs do not
            Parting(
                Verdict.DIVERGED,
                0,
                expected.sequences.shape[2] - case.prompt_len,
                f"the outputs differ though the searches agree: shape {found.sequences.shape}, "
                f"HF's {expected.sequences.shape}",
            )
        ]
        verdict = max((p.verdict for p in partings), key=list(Verdict).index)
        return CaseResult(case, verdict, float("nan"), partings)

    def _judge_row(
        self, case: ParityCase, row: int, expected: BeamOutput, found: BeamOutput
    ) -> Parting | None:
        if case.config.num_beams == 1:
            return self._judge_greedy(case, row, expected, found)
        theirs = self._reference.trace(*case.batch(), case.config)[row]
        ours = self._trace(case)[row]
        for step, (our_step, their_step) in enumerate(zip(ours, theirs, strict=False), start=1):
            parting = self._judge_step(case, row, step, our_step, their_step)
            if parting is not None:
                return parting
        if len(ours) != len(theirs):
            return Parting(
                Verdict.DIVERGED,
                row,
                min(len(ours), len(theirs)),
                f"the file stops after {len(ours)} tokens, HF after {len(theirs)}",
            )
        return None

    def _judge_step(
        self, case: ParityCase, row: int, step: int, ours: RowStep, theirs: RowStep
    ) -> Parting | None:
        """The first thing that differs after one step, in the order it is decided."""
        penalty = case.config.length_penalty

        def running(tokens: Tokens) -> float:
            return self._score(case, row, tokens)

        def finished(tokens: Tokens) -> float:
            return self._score(case, row, tokens) / math.pow(len(tokens), penalty)

        parting = _compare_kept(
            "running beams", row, step, ours.running, theirs.running, running
        ) or _compare_kept("hypotheses", row, step, ours.finished, theirs.finished, finished)
        if parting is None and ours.unsatisfied != theirs.unsatisfied:
            return self._judge_stop(case, row, step, theirs)
        return parting

    def _judge_stop(self, case: ParityCase, row: int, step: int, theirs: RowStep) -> Parting:
        """The same beams and hypotheses, but one side sees a reason to go on."""
        longest = case.config.early_stopping == "never" and case.config.length_penalty > 0
        length = (case.config.max_new_tokens or step) if longest else step
        best = max(theirs.running.values()) / length**case.config.length_penalty
        worst = min(theirs.finished.values(), default=-1e9)
        tie = near(best, worst, NEAR_TIE_MARGIN)
        return Parting(
            Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
            row,
            step,
            "one goes on and the other stops: best running score against worst hypothesis",
            our_score=best,
            reference_score=worst,
            margin=abs(best - worst),
        )

    def _judge_greedy(
        self, case: ParityCase, row: int, expected: BeamOutput, found: BeamOutput
    ) -> Parting:
        theirs = expected.sequences[row, 0, case.prompt_len :].tolist()
        ours = found.sequences[row, 0, case.prompt_len :].tolist()
        step = next(
            (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
            min(len(ours), len(theirs)) - 1,
        )
        kept, dropped = tuple(ours[: step + 1]), tuple(theirs[: step + 1])
        scores = {t: self._score(case, row, t) for t in (kept, dropped)}
        tie = near(scores[kept], scores[dropped], NEAR_TIE_MARGIN) and kept != dropped
        return Parting(
            Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
            row,
            step + 1,
            "greedy search takes another token",
            list(kept),
            list(dropped),
            scores[kept],
            scores[dropped],
            scores[dropped] - scores[kept],
        )

    def _score(self, case: ParityCase, row: int, tokens: Tokens) -> float:
        """HF's summed log-probability, -inf for an EOS that may not come yet."""
        early = tokens[: case.config.min_new_tokens or 0]
        if any(token in case.config.eos_token_id for token in early):
            return float("-inf")
        return self._reference.score(case.prompts[row], [tokens])[0]

    def _trace(self, case: ParityCase) -> SearchTrace:
        input_ids, attention_mask = case.batch()
        names = [output.name for output in self._session.get_outputs()]
        feeds = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            **case.config.for_prompt(case.prompt_len).inputs(),
        }
        return read_trace(dict(zip(names, self._session.run(names, feeds), strict=True)))


def _compare_kept(
    what: str,
    row: int,
    step: int,
    ours: dict[Tokens, float],
    theirs: dict[Tokens, float],
    rescore: Callable[[Tokens], float],
) -> Parting | None:
    """Compare what the two searches keep after a step, as scored sets."""
    for tokens in sorted(set(ours) & set(theirs), key=theirs.__getitem__, reverse=True):
        if not near(ours[tokens], theirs[tokens], SCORE_TOLERANCE):
            return Parting(
                Verdict.DIVERGED,
                row,
                step,
                f"the same continuation among the {what} has another score",
                list(tokens),
                list(tokens),
                ours[tokens],
                theirs[tokens],
                theirs[tokens] - ours[tokens],
            )
    extra = {tokens: rescore(tokens) for tokens in set(ours) - set(theirs)}
    missing = {tokens: rescore(tokens) for tokens in set(theirs) - set(ours)}
    if not extra and not missing:
        return None
    # The tie has to cover the worst we kept and the best we dropped.
    kept = min(extra, key=extra.__getitem__, default=())
    dropped = max(missing, key=missing.__getitem__, default=())
    tie = bool(extra and missing) and near(extra[kept], missing[dropped], NEAR_TIE_MARGIN)
    tie = tie and near(ours[kept], extra[kept], SCORE_TOLERANCE)
    return Parting(
        Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
        row,
        step,
        f"the {what} differ",
        list(kept),
        list(dropped),
        ours.get(kept),
        theirs.get(dropped),
        missing[dropped] - extra[kept] if extra and missing else None,
    )


def _traced_session(package: Package) -> Any:
    """The package's own graph with the trace's outputs added, in memory."""
    import onnxruntime

    traced = with_trace_outputs(ir.load(package.model))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(package.folder)
    )
    return onnxruntime.InferenceSession(
        ir.to_proto(traced).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
