"""Why the best hypothesis won: its score, the others', and what narrower searches would find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from beamgen.explain.beams import Continuation, Hypothesis, Step


def reasons(
    steps: Sequence[Step], hypotheses: Sequence[Hypothesis], settings: dict[str, Any]
) -> tuple[str, ...]:
    """Say in sentences what decided between the hypotheses."""
    if not hypotheses:
        return ("the search found nothing: no continuation fits these settings",)
    return tuple(_sentences(steps, hypotheses, settings))


def _sentences(
    steps: Sequence[Step], hypotheses: Sequence[Hypothesis], settings: dict[str, Any]
) -> Iterator[str]:
    first, *others = hypotheses
    penalty = settings["length_penalty"]
    yield f"the winner's score is {_division(first, penalty)}"
    if others:
        second = others[0]
        less = f"{first.score - second.score:.4f} less"
        yield f"the second's is {_division(second, penalty)}: {less}"
        if second.log_prob > first.log_prob:
            yield "by log-probability alone the second would have won: the length penalty decided"
    else:
        yield "no other hypothesis was finished"
    if settings["do_sample"]:
        yield "tokens were drawn, so another seed finds others"
        return
    path = [steps[step - 1].continuations[rank] for step, rank in first.path]
    yield _greedy(steps, path)
    yield from _lowest_place(path, settings["num_beams"])


def _division(hypothesis: Hypothesis, penalty: float) -> str:
    return f"{hypothesis.log_prob:.4f} / {len(hypothesis.ids)}^{penalty:g} = {hypothesis.score:.4f}"


def _greedy(steps: Sequence[Step], path: Sequence[Continuation]) -> str:
    """Where greedy search would have gone another way: a likelier token of the same beam."""
    for step, own in zip(steps, path, strict=False):
        better = [each for each in step.continuations[: own.rank] if each.parent == own.parent]
        if better:
            other = better[0]
            return (
                f"greedy search would have left its path in step {step.step}, for "
                f"{other.text!r} ({other.log_prob:.4f}) instead of {own.text!r} "
                f"({own.log_prob:.4f})"
            )
    return "greedy search would have found it, too"


def _lowest_place(path: Sequence[Continuation], num_beams: int) -> Iterator[str]:
    """Where it came nearest to being dropped."""
    places = [each.rank if each.beam is None else each.beam for each in path]
    lowest = max(places)
    if lowest:
        step = 1 + places.index(lowest)
        yield f"its lowest place was {lowest + 1} of {num_beams}, in step {step}"
