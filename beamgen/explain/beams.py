"""The beams of a search: what each step did with every continuation, and how they hang together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Of a continuation: it ran on, it became a hypothesis, or neither.
KEPT, FINISHED, DROPPED = FATES = ("kept", "finished", "dropped")

#: Where a continuation stands: its step, counted from 1, and its rank there, from 0.
Place = tuple[int, int]


@dataclass(frozen=True)
class Continuation:
    """A beam and the token that may follow it.

    Attributes:
        rank: in its step, 0 being the best by ``score``; in sampling the order of the draw.
        parent: the running beam of the step before that it continues; 0 in step 1.
        token: its id.
        text: what the token adds to the text; the id in brackets without a tokenizer.
        log_prob: of the token, as the logits processors left it.
        score: summed log-probability of all generated tokens.
        fate: ``kept``, ``finished`` or ``dropped``.
        reason: why, in a few words.
        beam: its place among the running beams after the step, where it was kept.
        hypothesis_score: with the length penalty, where it ends here.
    """

    rank: int
    parent: int
    token: int
    text: str
    log_prob: float
    score: float
    fate: str
    reason: str
    beam: int | None = None
    hypothesis_score: float | None = None


@dataclass(frozen=True)
class Step:
    """One step of the search.

    Attributes:
        step: tokens generated, this one counted.
        continuations: best first.
        displaced: where hypotheses ended that better ones pushed out.
    """

    step: int
    continuations: tuple[Continuation, ...]
    displaced: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Hypothesis:
    """What the search returns.

    Attributes:
        rank: 0 is the winner.
        score: HF's ``sequences_scores``.
        log_prob: summed, before the length penalty.
        ids: generated, the EOS that ended them included.
        text: of the generated ids, None without a tokenizer.
        finish_reason: ``eos`` or ``length``.
        path: where each of its tokens stands.
    """

    rank: int
    score: float
    log_prob: float
    ids: tuple[int, ...]
    text: str | None
    finish_reason: str
    path: tuple[Place, ...]


def running_after(steps: Sequence[Step], step: int) -> dict[int, Continuation]:
    """The running beams after a step, by their place; none before the first."""
    continuations = steps[step - 1].continuations if step else ()
    return {each.beam: each for each in continuations if each.beam is not None}


def parent_of(steps: Sequence[Step], step: int, continuation: Continuation) -> Continuation | None:
    """The continuation that another one continues; None in step 1."""
    return running_after(steps, step - 1).get(continuation.parent)


def path_back(
    steps: Sequence[Step], step: int, continuation: Continuation
) -> Iterator[Continuation]:
    """A continuation and those before it, the newest first."""
    at: Continuation | None = continuation
    while at is not None:
        yield at
        at = parent_of(steps, step, at)
        step -= 1


def text_up_to(steps: Sequence[Step], step: int, continuation: Continuation) -> str:
    """All that was generated up to a continuation, itself included."""
    texts = [each.text for each in path_back(steps, step, continuation)]
    return "".join(reversed(texts))
