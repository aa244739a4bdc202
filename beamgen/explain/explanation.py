"""One search and what decided it, as values, as a page and as a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from beamgen.disk import local, write_text
from beamgen.explain import beams, html, svg
from beamgen.explain.beams import Continuation, Hypothesis, Place, Step
from beamgen.package.json_values import without_nan


@dataclass(frozen=True)
class Explanation:
    """A whole search of one prompt.

    Attributes:
        text: the prompt, None where there is no tokenizer; behind an encoder the decoder's.
        ids: the prompt's.
        settings: under HF's names, those that decide who wins.
        steps: in order.
        hypotheses: best first.
        stopped: why the search ended there.
        reasons: why the winner won, one sentence each.
        source_text: what an encoder read; None where there is none, or no tokenizer.
        source_ids: its ids; None where there is no encoder.
        forbidden: at each step, how many tokens a constraint forbade each running beam; None
            where there was no constraint.
        vocab_size: of how many.
    """

    text: str | None
    ids: tuple[int, ...]
    settings: dict[str, Any]
    steps: tuple[Step, ...]
    hypotheses: tuple[Hypothesis, ...]
    stopped: str
    reasons: tuple[str, ...]
    source_text: str | None = None
    source_ids: tuple[int, ...] | None = None
    forbidden: tuple[tuple[int, ...], ...] | None = None
    vocab_size: int = 0

    @cached_property
    def winning(self) -> frozenset[Place]:
        """Where the winner's continuations stand."""
        return frozenset(self.hypotheses[0].path) if self.hypotheses else frozenset()

    def at(self, step: int, rank: int) -> Continuation:
        """One continuation; steps count from 1."""
        return self.steps[step - 1].continuations[rank]

    def running(self, step: int) -> dict[int, Continuation]:
        """The running beams after a step, by their place."""
        return beams.running_after(self.steps, step)

    def parent(self, step: int, continuation: Continuation) -> Continuation | None:
        """The continuation that another one continues; None in step 1."""
        return beams.parent_of(self.steps, step, continuation)

    def path(self, step: int, continuation: Continuation) -> Iterator[Continuation]:
        """A continuation and those before it, the newest first."""
        return beams.path_back(self.steps, step, continuation)

    def text_of(self, step: int, continuation: Continuation) -> str:
        """All that was generated up to a continuation, itself included."""
        return beams.text_up_to(self.steps, step, continuation)

    def to_json(self) -> dict[str, Any]:
        """Plain values, the record of a search that the page for the browser shows, too."""
        values = asdict(self)
        prompt = {"text": values.pop("text"), "ids": values.pop("ids")}
        source = {"text": values.pop("source_text"), "ids": values.pop("source_ids")}
        read = {} if self.source_ids is None else {"source": source}
        why = values.pop("reasons")
        vocab_size = values.pop("vocab_size")
        if values["forbidden"] is None:
            del values["forbidden"]
        else:
            values["vocab_size"] = vocab_size
        record: dict[str, Any] = without_nan({**read, "prompt": prompt, **values, "why": why})
        return record

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a picture into a file that ends in ``.svg``, a page into any other."""
        path = local(path)
        write_text(path, self.to_svg() if path.suffix == ".svg" else self.to_html())

    def to_html(self) -> str:
        """One page that needs no other file: answers, why the first won, the tree, each step."""
        return html.page(self.to_json())

    def to_svg(self) -> str:
        """A picture of the tree, the winner's path in colour."""
        best = self.hypotheses[0].text if self.hypotheses else None
        label = f"Beams of {len(self.steps)} steps{f'; the winner: {best.strip()}' if best else ''}"
        return svg.draw(self.steps, self.winning, self.settings["eos_token_id"], label)
