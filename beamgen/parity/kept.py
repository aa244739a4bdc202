"""What two searches keep after a step is compared, as scored sets of token sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from beamgen.parity.margins import Margins
from beamgen.parity.report import Parting, Verdict
from beamgen.runtime.trace import Tokens


@dataclass(frozen=True)
class Kept:
    """What both searches keep for one row after one step.

    Attributes:
        what: what these are, for the reason that is given.
        row: of the batch.
        step: generated tokens so far.
        ours: the file's, with their scores.
        theirs: the yardstick's.
    """

    what: str
    row: int
    step: int
    ours: dict[Tokens, float]
    theirs: dict[Tokens, float]


@dataclass(frozen=True)
class Scale:
    """How continuations that one search alone keeps are weighed against each other.

    Attributes:
        rescore: gives the yardstick's score of any continuation.
        either_way: whether chance decided between one that was kept and one that was dropped.
        divisor: what a summed log-probability is divided by.
        rounded_otherwise: gives scores that the yardstick gives as well, had float32 rounded its
            logits otherwise.
    """

    rescore: Callable[[Tokens], float]
    either_way: Callable[[Tokens, Tokens], bool]
    divisor: Callable[[Tokens], float]
    rounded_otherwise: Callable[[Tokens], Iterable[float]]


def compare(kept: Kept, scale: Scale, margins: Margins) -> Parting | None:
    """The first difference between what two searches keep, or None."""
    return _other_score(kept, scale, margins) or _other_sets(kept, scale, margins)


def _other_score(kept: Kept, scale: Scale, margins: Margins) -> Parting | None:
    """What both keep, with scores that are not the same."""
    ours, theirs = kept.ours, kept.theirs
    for tokens in sorted(set(ours) & set(theirs), key=theirs.__getitem__, reverse=True):
        weight = (len(tokens), scale.divisor(tokens))
        if not margins.same(ours[tokens], theirs[tokens], *weight):
            others = scale.rounded_otherwise(tokens)
            border = any(margins.same(ours[tokens], other, *weight) for other in others)
            reason = f"the same continuation among the {kept.what} has another score"
            return Parting(
                Verdict.NEAR_TIE if border else Verdict.DIVERGED,
                kept.row,
                kept.step,
                f"{reason}: rounding decides which tokens may be drawn" if border else reason,
                list(tokens),
                list(tokens),
                ours[tokens],
                theirs[tokens],
                theirs[tokens] - ours[tokens],
            )
    return None


def _other_sets(kept: Kept, scale: Scale, margins: Margins) -> Parting | None:
    """What one keeps and the other does not, which may be a near-tie."""
    ours, theirs = kept.ours, kept.theirs
    extra = {tokens: scale.rescore(tokens) for tokens in set(ours) - set(theirs)}
    missing = {tokens: scale.rescore(tokens) for tokens in set(theirs) - set(ours)}
    if not extra and not missing:
        return None
    # The tie has to cover the worst we kept and the best we dropped.
    worst = min(extra, key=extra.__getitem__, default=())
    best = max(missing, key=missing.__getitem__, default=())
    both = bool(extra and missing)
    length, divisor = len(worst), scale.divisor(worst) if extra else 1.0
    tie = scale.either_way(worst, best) or (
        both and margins.tied(extra[worst], missing[best], length, divisor)
    )
    if extra:
        tie = tie and margins.same(ours[worst], extra[worst], length, divisor)
    return Parting(
        Verdict.NEAR_TIE if tie else Verdict.DIVERGED,
        kept.row,
        kept.step,
        f"the {kept.what} differ",
        list(worst),
        list(best),
        ours.get(worst),
        theirs.get(best),
        missing[best] - extra[worst] if both else None,
    )
