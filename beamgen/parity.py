"""Does the file agree with Hugging Face ``generate``, token for token and score for score?

Each case ends in one of three verdicts. *Exact*: same tokens, same scores.
*Near-tie*: the two searches part at a step where HF's own scores of what one kept
and the other dropped lie within the margin of float arithmetic; both answers are
right. *Diverged*: they part anywhere else, or their scores do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from beamgen.checkpoint import Checkpoint
from beamgen.package import Package
from beamgen.reference import Reference
from beamgen.runtime import BeamOutput, Generator, Ids, left_pad
from beamgen.search.trace import RowStep, SearchTrace, Tokens, read_trace, with_trace_outputs
from beamgen.search_config import SearchConfig

# Both are relative to the size of a score where that is above 1: a negative
# length penalty multiplies scores by thousands.
#: Scores nearer than this are the same score.
SCORE_TOLERANCE = 1e-3
#: Candidates whose HF scores are nearer than this are a tie that float32 decides.
NEAR_TIE_MARGIN = 1e-4


class Verdict(StrEnum):
    """From best to worst."""

    EXACT = "exact"
    NEAR_TIE = "near-tie"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class ParityCase:
    """One comparison.

    Attributes:
        name: what kind of prompts these are.
        prompts: token ids per row.
        prompt_len: S, to which the prompts are padded on the left.
        config: every setting.
    """

    name: str
    prompts: tuple[tuple[int, ...], ...]
    prompt_len: int
    config: SearchConfig

    @property
    def title(self) -> str:
        """Name and settings in one line."""
        config = self.config
        settings = ("num_beams", "length_penalty", "early_stopping", "eos_token_id")
        listed = (f"{name} {getattr(config, name)}" for name in settings)
        return ", ".join([self.name, *listed])

    def batch(self) -> tuple[Ids, Ids]:
        """input_ids and attention_mask, int64 ``[B, S]``."""
        return left_pad(self.prompts, self.config.pad_token_id, self.prompt_len)


@dataclass(frozen=True)
class Parting:
    """Where two searches part.

    Attributes:
        verdict: near-tie or diverged.
        row: of the batch.
        step: generated token at which they part, counted from 1.
        reason: what differs there.
        ours: a continuation the file kept and HF did not, or [].
        reference: a continuation HF kept and the file did not, or [].
        our_score: what the file says of ``ours``.
        reference_score: what HF says of ``reference``.
        margin: HF's score of ``reference`` less HF's score of ``ours``.
    """

    verdict: Verdict
    row: int
    step: int
    reason: str
    ours: list[int] = field(default_factory=list)
    reference: list[int] = field(default_factory=list)
    our_score: float | None = None
    reference_score: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class CaseResult:
    """The verdict on one case.

    Attributes:
        case: what was compared.
        verdict: the worst of its rows'.
        score_difference: the largest difference of returned scores (absolute).
        partings: one for each row that is not exact.
    """

    case: ParityCase
    verdict: Verdict
    score_difference: float
    partings: list[Parting]


@dataclass(frozen=True)
class ParityReport:
    """The verdicts on a grid of cases."""

    results: list[CaseResult]

    @property
    def verdict(self) -> Verdict:
        """The worst of all cases."""
        return max((r.verdict for r in self.results), key=list(Verdict).index)

    @property
    def exit_code(self) -> int:
        """0 for exact or near-tie, 3 for diverged."""
        return 3 if self.verdict is Verdict.DIVERGED else 0

    def count(self, verdict: Verdict) -> int:
        """How many cases ended so."""
        return sum(result.verdict is verdict for result in self.results)

    @property
    def score_difference(self) -> float:
        """The largest over all exact cases."""
        exact = (r.score_difference for r in self.results if r.verdict is Verdict.EXACT)
        return max(exact, default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Counts and every parting, for ``beamgen.json`` and ``--json``."""
        import transformers

        return {
            "verdict": self.verdict,
            "transformers": transformers.__version__,
            "cases": len(self.results),
            **{verdict.value: self.count(verdict) for verdict in Verdict},
            "max_score_difference": self.score_difference,
            "partings": [
                {"case": result.case.title, **vars(parting)}
                for result in self.results
                for parting in result.partings
            ],
        }


# --- grids -------------------------------------------------------------------------------

Prompts = tuple[tuple[int, ...], ...]

#: Ids that HF's search generates for these prompts, the most frequent first. As
#: EOS ids they make sequences end, which a trained model's own EOS hardly ever
#: does within a few tokens of a random prompt.
Likely = Callable[[Prompts], list[int]]

#: A grid makes its cases from a package, likely ids, and a seed.
Grid = Callable[[Package, Likely, int], list["ParityCase"]]

_SHAPES = {
    "batch 1": (1, False),
    "batch 1 left-padded": (1, True),
    "batch 4": (4, False),
    "batch 4 left-padded": (4, True),
}
_PROMPTS_PER_SHAPE = 6


def quick_grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """Ten cases that `export` ends with: some seconds on a small model."""
    own = package.manifest.search.eos_token_id
    cases = []
    for shape in ("batch 1", "batch 4 left-padded"):
        prompts, prompt_len = _random_prompts(package, shape, seed)
        one, two = likely(prompts)
        settings: list[dict[str, Any]] = [
            {"length_penalty": 1.0, "early_stopping": False, "eos_token_id": own},
            {"length_penalty": 0.0, "early_stopping": True, "eos_token_id": (*own, one)},
            {"length_penalty": 2.0, "early_stopping": "never", "eos_token_id": (*own, one, two)},
            {"length_penalty": -0.5, "early_stopping": False, "eos_token_id": (*own, two)},
            {"num_beams": 1, "num_return_sequences": 1, "eos_token_id": (*own, two)},
        ]
        cases += [_case(package, shape, prompts, prompt_len, setting) for setting in settings]
    return cases


def full_grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """Batch, left padding, length penalty, stop mode and EOS ids, each with each: 96 cases."""
    own = package.manifest.search.eos_token_id
    cases = []
    for shape in _SHAPES:
        drawn = [_random_prompts(package, shape, seed + i) for i in range(_PROMPTS_PER_SHAPE)]
        ends = [likely(prompts) for prompts, _ in drawn]
        axes = itertools.product((0.0, 1.0, 2.0, -0.5), (False, True, "never"), (False, True))
        for i, (penalty, early, both) in enumerate(axes):
            one, two = ends[i % _PROMPTS_PER_SHAPE]
            setting = {
                "length_penalty": penalty,
                "early_stopping": early,
                "eos_token_id": (*own[:1], two) if both else (one,),
            }
            cases.append(_case(package, shape, *drawn[i % _PROMPTS_PER_SHAPE], setting))
    return cases


GRIDS: dict[str, Grid] = {"quick": quick_grid, "full": full_grid}


def prompt_cases(package: Package, prompts: Sequence[Sequence[int]]) -> list[ParityCase]:
    """The package's own settings, all hypotheses returned, on the caller's prompts."""
    search = package.manifest.search
    config = replace(search, num_return_sequences=search.num_beams)
    return [
        ParityCase(f"prompt {i + 1}", (tuple(prompt),), len(prompt), config)
        for i, prompt in enumerate(prompts)
    ]


def _random_prompts(package: Package, shape: str, seed: int) -> tuple[Prompts, int]:
    """Prompts of random ids, and the length to pad them to.

    The searches must agree on any prompt, likely or not.
    """
    batch, padded = _SHAPES[shape]
    rng = np.random.default_rng([seed, batch, padded])
    prompt_len = int(rng.integers(4, max(5, min(12, _room(package) // 3))))
    lengths = [prompt_len] * batch
    if padded:
        lengths = [int(rng.integers(2, prompt_len)) for _ in range(batch)]
    ordinary = _ordinary_ids(package)
    return tuple(tuple(rng.choice(ordinary, size=n).tolist()) for n in lengths), prompt_len


def _case(
    package: Package, shape: str, prompts: Prompts, prompt_len: int, settings: dict[str, Any]
) -> ParityCase:
    search = package.manifest.search
    config = replace(
        search,
        max_new_tokens=min(16, _room(package) - prompt_len),
        max_length=None,
        min_new_tokens=0,
        min_length=0,
        num_return_sequences=search.num_beams,
    ).with_overrides(settings)
    return ParityCase(shape, prompts, prompt_len, config)


def _room(package: Package) -> int:
    limits = package.manifest.limits
    return limits.recompute_boundary or limits.max_positions


def _ordinary_ids(package: Package) -> Ids:
    manifest = package.manifest
    special = [*manifest.search.eos_token_id, manifest.search.pad_token_id]
    return np.setdiff1d(np.arange(manifest.vocab_size), special)


# --- the check ---------------------------------------------------------------------------


def check_parity(
    package: Package,
    checkpoint: Checkpoint,
    *,
    grid: Grid = quick_grid,
    prompts: Sequence[Sequence[int]] = (),
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> ParityReport:
    """Compare a package with HF ``generate`` on its checkpoint.

    HF answers first and its model is freed before the file is loaded, so that
    both need not be in memory at once; it is loaded again only to explain a
    difference.

    Args:
        package: what to judge.
        checkpoint: what it was exported from.
        grid: makes the cases.
        prompts: token ids of further prompts, searched with the package's own
            settings.
        seed: of the grid's random prompts.
        progress: called with a phase, cases done and cases in all.

    Raises:
        CheckpointError, PackageError: either side cannot be loaded.
    """
    notify = progress or (lambda phase, done, total: None)
    reference = Reference(checkpoint.load_model())
    cases = grid(package, partial(_likely_ids, reference, package), seed)
    cases = [*cases, *prompt_cases(package, prompts)]
    expected = []
    for done, case in enumerate(cases):
        notify("transformers", done, len(cases))
        expected.append(reference.generate(*case.batch(), case.config))
    del reference

    generator = Generator(package, verify=False)
    found = []
    for done, case in enumerate(cases):
        notify("onnxruntime", done, len(cases))
        found.append(generator.search_ids(*case.batch(), case.config))
    del generator

    pairs = list(zip(cases, expected, found, strict=True))
    if all(_same(*pair[1:]) for pair in pairs):
        return ParityReport([_exact(*pair) for pair in pairs])
    notify("explaining", 0, 1)
    judge = _Judge(Reference(checkpoint.load_model()), package)
    return ParityReport(
        [
            _exact(case, theirs, ours) if _same(theirs, ours) else judge(case, theirs, ours)
            for case, theirs, ours in pairs
        ]
    )


def _likely_ids(reference: Reference, package: Package, prompts: Prompts) -> list[int]:
    """Two ids, see ``Likely``."""
    ordinary = _ordinary_ids(package)
    search = package.manifest.search
    config = replace(
        search,
        num_return_sequences=search.num_beams,
        max_new_tokens=6,
        min_new_tokens=6,
        max_length=None,
    )
    batch = left_pad(prompts, config.pad_token_id)
    output = reference.generate(*batch, config)
    generated = output.sequences[:, :, batch[0].shape[1] + 1 :]  # not the very first token
    found, counts = np.unique(generated[np.isin(generated, ordinary)], return_counts=True)
    return [*found[np.argsort(-counts)].tolist(), *ordinary.tolist()][:2]


# --- comparing ---------------------------------------------------------------------------


def near(a: float, b: float, tolerance: float) -> bool:
    """Whether two scores agree, relative to their size where that is above 1."""
    return abs(a - b) <= tolerance * max(1.0, abs(b))


def _same(expected: BeamOutput, found: BeamOutput) -> bool:
    return expected.sequences.shape == found.sequences.shape and all(
        _same_row(expected, found, row) for row in range(len(expected.sequences))
    )


def _same_row(expected: BeamOutput, found: BeamOutput, row: int) -> bool:
    """Tokens, padding included, and scores; greedy search has none to compare."""
    theirs, ours = expected.sequences[row], found.sequences[row]
    return np.array_equal(theirs, ours) and all(
        np.isnan(b) or near(float(a), float(b), SCORE_TOLERANCE)
        for a, b in zip(found.sequences_scores[row], expected.sequences_scores[row], strict=True)
    )


def _exact(case: ParityCase, expected: BeamOutput, found: BeamOutput) -> CaseResult:
    difference = np.abs(expected.sequences_scores - found.sequences_scores)
    largest = 0.0 if np.isnan(difference).all() else float(np.nanmax(difference))
    return CaseResult(case, Verdict.EXACT, largest, [])


class _Judge:
    """Finds out where two searches part, and whether either answer is right."""

    def __init__(self, reference: Reference, package: Package) -> None:
        self._reference = reference
        self._session = _traced_session(package)

    def __call__(self, case: ParityCase, expected: BeamOutput, found: BeamOutput) -> CaseResult:
        reshaped = expected.sequences.shape != found.sequences.shape
        judged = [
            self._judge_row(case, row, expected, found)
            for row in range(len(case.prompts))
            if reshaped or not _same_row(expected, found, row)
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
