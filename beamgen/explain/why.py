"""Why the winner won, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from beamgen.explain.story import Continuation, Hypothesis, Step


def why(
    steps: Sequence[Step], hypotheses: Sequence[Hypothesis], settings: dict[str, Any]
) -> tuple[str, ...]:
    """From its own score to what other ways of searching would have made of it."""
    if not hypotheses:
        return ("the search found nothing: no continuation fits these settings",)
    return tuple(_sentences(steps, hypotheses, settings))


def _sentences(
    steps: Sequence[Step], hypotheses: Sequence[Hypothesis], settings: dict[str, Any]
) -> Iterator[str]:
    first, *others = hypotheses
    penalty = settings["length_penalty"]
    yield f"the winner's score is {_sum(first, penalty)}"
    if others:
        second = others[0]
        yield (f"the second's is {_sum(second, penalty)}: {first.score - second.score:.4f} less")
        if second.log_prob > first.log_prob:
            yield ("by log-probability alone the second would have won: the length penalty decided")
    else:
        yield "no other hypothesis was finished"
    if settings["do_sample"]:
        yield "tokens were drawn, so another seed finds others"
        return
    path = [steps[step - 1].continuations[rank] for step, rank in first.path]
    yield from _greedy(steps, path)
    yield from _narrowest(path, settings["num_beams"])


def _sum(hypothesis: Hypothesis, penalty: float) -> str:
    return f"{hypothesis.log_prob:.4f} / {len(hypothesis.ids)}^{penalty:g} = {hypothesis.score:.4f}"


def _greedy(steps: Sequence[Step], path: Sequence[Continuation]) -> Iterator[str]:
    """Where greedy search would have gone another way: a likelier token of the same beam."""
    for step, own in zip(steps, path, strict=False):
        better = [c for c in step.continuations[: own.rank] if c.parent == own.parent]
        if better:
            other = better[0]
            yield (
                f"greedy search would have left its path in step {step.step}, for "
                f"{other.text!r} ({other.log_prob:.4f}) instead of {own.text!r} "
                f"({own.log_prob:.4f})"
            )
            return
    yield "greedy search would have found it, too"


def _narrowest(path: Sequence[Continuation], num_beams: int) -> Iterator[str]:
    """Where it came nearest to being dropped."""
    place, step = max((c.rank if c.beam is None else c.beam, -i) for i, c in enumerate(path))
    if place:
        yield f"its lowest place was {place + 1} of {num_beams}, in step {1 - step}"
