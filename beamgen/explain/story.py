"""What an explanation tells: plain values, which pictures and texts are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

#: Of a continuation: it ran on, it became a hypothesis, or neither.
KEPT, FINISHED, DROPPED = "kept", "finished", "dropped"


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
        displaced: the step and rank of hypotheses that better ones pushed out.
    """

    step: int
    continuations: tuple[Continuation, ...]
    displaced: tuple[tuple[int, int], ...] = ()


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
        path: step and rank of each of its tokens.
    """

    rank: int
    score: float
    log_prob: float
    ids: tuple[int, ...]
    text: str | None
    finish_reason: str
    path: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Explanation:
    """A whole search of one prompt.

    Attributes:
        text: the prompt, None where it was given as ids and there is no tokenizer.
        ids: the prompt's.
        settings: under HF's names, those that decide who wins.
        steps: in order.
        hypotheses: best first.
        stopped: why the search ended there.
        why: why the winner won, one sentence each.
    """

    text: str | None
    ids: tuple[int, ...]
    settings: dict[str, Any]
    steps: tuple[Step, ...]
    hypotheses: tuple[Hypothesis, ...]
    stopped: str
    why: tuple[str, ...]

    @cached_property
    def winning(self) -> frozenset[tuple[int, int]]:
        """Step and rank of the winner's continuations."""
        return frozenset(self.hypotheses[0].path) if self.hypotheses else frozenset()

    def at(self, step: int, rank: int) -> Continuation:
        """One continuation; steps count from 1."""
        return self.steps[step - 1].continuations[rank]

    def running(self, step: int) -> dict[int, Continuation]:
        """The running beams after a step, by their place."""
        kept = self.steps[step - 1].continuations if step else ()
        return {c.beam: c for c in kept if c.beam is not None}

    def parent(self, step: int, continuation: Continuation) -> Continuation | None:
        """The continuation that another one continues; None in step 1."""
        return self.running(step - 1).get(continuation.parent)

    def path(self, step: int, continuation: Continuation) -> Iterator[Continuation]:
        """A continuation and those before it, the newest first."""
        at: Continuation | None = continuation
        while at is not None:
            yield at
            at = self.parent(step, at)
            step -= 1

    def text_of(self, step: int, continuation: Continuation) -> str:
        """All that was generated up to a continuation, itself included."""
        return "".join(c.text for c in reversed(list(self.path(step, continuation))))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = asdict(self)
        prompt = {"text": values.pop("text"), "ids": values.pop("ids")}
        return {"prompt": prompt, **values}
