"""The verdict on a case whose answers differ: are both right, and where do they part?"""

from __future__ import annotations

from beamgen.parity.report import (
    SCORE_TOLERANCE,
    CaseResult,
    ParityCase,
    Parting,
    Verdict,
    near,
    same_row,
)
from beamgen.parity.row_judge import RowJudge
from beamgen.parity.searches import Searches
from beamgen.runtime.trace import SearchTrace
from beamgen.settings.result import BeamOutput


def judge(
    searches: Searches, case: ParityCase, expected: BeamOutput, found: BeamOutput
) -> CaseResult:
    """Explain each row that differs, and give the case the worst of their verdicts.

    Args:
        searches: which made the answers.
        case: what was searched.
        expected: the yardstick's answer.
        found: the file's.
    """
    slack = searches.margins.slack(case, expected)
    rows = [row for row in range(len(case.prompts)) if not same_row(expected, found, row, slack)]
    judged: list[Parting | None]
    if case.config.num_beams == 1:
        parted = [r for r in rows if not same_row(expected, found, r, slack, padding=False)]
        judged = [_one_beam(searches, case, row, expected, found) for row in parted or rows]
    else:
        theirs, ours = (searches.live(trace, case) for trace in searches.traces(case))
        judged = [RowJudge(searches, case, row)(ours[row], theirs[row]) for row in rows]
        judged += _outputs(case, ours, found)
    partings = [parting for parting in judged if parting is not None]
    if not partings:
        # All agree, step by step, and the outputs are what the search found:
        # hypotheses of one score may come in another order, and nothing else.
        partings = [_order(case, row, expected, found) for row in rows]
    verdict = max((p.verdict for p in partings), key=list(Verdict).index)
    return CaseResult(case, verdict, float("nan"), partings)


def _outputs(case: ParityCase, ours: SearchTrace, found: BeamOutput) -> list[Parting | None]:
    """Rows whose outputs are not the hypotheses that the file's own search ended with."""
    returned = case.config.num_return_sequences
    best = [
        sorted(steps[-1].finished.items(), key=lambda item: -item[1])[:returned] for steps in ours
    ]
    longest = max((len(tokens) for row in best for tokens, _ in row), default=0)
    partings: list[Parting | None] = []
    for row, hypotheses in enumerate(best):
        if len(hypotheses) < returned:
            continue  # an unfinished filler is returned, as in HF
        fill = case.config.fill_token_id
        wanted = [[*tokens, *[fill] * (longest - len(tokens))] for tokens, _ in hypotheses]
        given = found.sequences[row, :, case.prompt_len :].tolist()
        scores = zip(found.sequences_scores[row].tolist(), hypotheses, strict=True)
        same = all(near(a, b, SCORE_TOLERANCE) for a, (_, b) in scores)
        if sorted(wanted) != sorted(given) or not same:
            reason = "the outputs differ though the searches agree: not what the search found"
            partings.append(Parting(Verdict.DIVERGED, row, longest, reason, given[0], wanted[0]))
    return partings


def _order(case: ParityCase, row: int, expected: BeamOutput, found: BeamOutput) -> Parting:
    """Outputs that differ though the searches agree: equal scores may stand in another order."""
    width = min(expected.sequences.shape[2], found.sequences.shape[2])
    theirs = expected.sequences[row, :, :width].tolist()
    ours = found.sequences[row, :, :width].tolist()
    tie = sorted(theirs) == sorted(ours) and theirs != ours
    reason = "the outputs differ though the searches agree"
    if tie:
        reason = "hypotheses of one score come in another order"
    elif theirs == ours:
        reason = "the same hypotheses have other log-probabilities, beam indices or reasons"
    return Parting(
        Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
        row,
        width - case.prompt_len,
        reason,
        ours[0][case.prompt_len :],
        theirs[0][case.prompt_len :],
    )


def _one_beam(
    searches: Searches, case: ParityCase, row: int, expected: BeamOutput, found: BeamOutput
) -> Parting:
    """The first of the sequences that differs, of greedy search or independent samples."""
    theirs = expected.sequences[row, :, case.prompt_len :].tolist()
    ours = found.sequences[row, :, case.prompt_len :].tolist()
    chains = enumerate(zip(ours, theirs, strict=True))
    place = next((i for i, (one, other) in chains if one != other), 0)
    our, their = ours[place], theirs[place]
    step = next(
        (i for i, (a, b) in enumerate(zip(our, their, strict=False)) if a != b),
        min(len(our), len(their)) - 1,
    )
    kept, dropped = tuple(our[: step + 1]), tuple(their[: step + 1])
    values = {tokens: searches.score(case, row, tokens) for tokens in (kept, dropped)}
    tie = kept != dropped and searches.drawn_alike(case, row, (kept, place), (dropped, place))
    return Parting(
        Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
        row,
        step + 1,
        "another token is taken"
        if kept != dropped
        else "the same tokens have another score or another end",
        list(kept),
        list(dropped),
        values[kept],
        values[dropped],
        values[dropped] - values[kept],
    )
