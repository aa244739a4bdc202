"""Are a contestant's tokens those of transformers, and may its time be compared?"""

from __future__ import annotations

from collections.abc import Sequence

SAME = "same tokens"
OTHER = "other tokens"
UNSTEADY = "unsteady tokens"
OWN_WEIGHTS = "own weights"
OWN_PRECISION = "own precision"
FAILED = "failed"
MISSING = "not installed"

#: Verdicts whose times are compared with others'.
COMPARABLE = (SAME, OWN_WEIGHTS, OWN_PRECISION)

#: What a verdict says, for a table's legend.
MEANINGS = {
    SAME: "float32, and every token is that of transformers",
    OTHER: "float32, but not transformers' tokens: the time is compared with none",
    UNSTEADY: "not the same in every process: the time is compared with none",
    OWN_WEIGHTS: "quantized, so with tokens of its own, which are the same in every process",
    OWN_PRECISION: "computed in what the library chooses by itself; likewise",
}

#: New tokens ``[runs, B, N]`` of one process.
Tokens = Sequence[Sequence[Sequence[int]]]


def judge(precision: str, found: Sequence[Tokens], expected: Tokens) -> tuple[str, int]:
    """The verdict, and how many first tokens are the expected ones.

    Args:
        precision: the contestant's.
        found: of each process; the prompts are the same.
        expected: transformers'.
    """
    equal = min(
        _leading(row, want)
        for process in found
        for run, wanted in zip(process, expected, strict=True)
        for row, want in zip(run, wanted, strict=True)
    )
    if any(process != found[0] for process in found):
        return UNSTEADY, equal
    if precision == "float32":
        return (SAME if all(process == expected for process in found) else OTHER), equal
    return (OWN_PRECISION if precision == "default" else OWN_WEIGHTS), equal


def _leading(row: Sequence[int], want: Sequence[int]) -> int:
    """How many tokens are equal before the first that is not."""
    pairs = zip(row, want, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(row), len(want)))
