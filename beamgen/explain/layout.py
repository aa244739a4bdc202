"""Where continuations stand in a drawn tree: a column for each step, a row for each rank.

``formats/web/page/layout.js`` lays out the same in a browser; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from beamgen.explain.beams import Continuation, Step, parent_of
from beamgen.formats.web.page_parts import constants

#: In pixels: rows and boxes, columns and the space between them.
SIZE: dict[str, int] = constants()["SIZE"]


@dataclass(frozen=True)
class Column:
    """One step.

    Attributes:
        step: its number.
        x: where its boxes begin.
        width: of its boxes.
        continuations: from the top.
    """

    step: int
    x: int
    width: int
    continuations: tuple[Continuation, ...]


@dataclass(frozen=True)
class Line:
    """From a box, or from the prompt, to what continued it.

    Attributes:
        step: of the continuation that it leads to.
        continuation: that one.
        start: x, and the row.
        end: x, and the row.
    """

    step: int
    continuation: Continuation
    start: tuple[int, int]
    end: tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """A drawn tree's measures.

    Attributes:
        columns: in order.
        lines: column by column.
        width: of the whole.
        rows: of the longest column.
    """

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    width: int
    rows: int


def lay_out(steps: Sequence[Step], width_of: Callable[[Continuation], int]) -> Layout:
    """Place the continuations of a search.

    Args:
        steps: of the search.
        width_of: how wide a continuation's box has to be.
    """
    columns = []
    x = SIZE["root"] + SIZE["gap"]
    for step in steps:
        width = max(map(width_of, step.continuations), default=0)
        columns.append(Column(step.step, x, width, step.continuations))
        x += width + SIZE["gap"]
    return Layout(
        columns=tuple(columns),
        lines=tuple(_lines(steps, columns)),
        width=x - SIZE["gap"],
        rows=max([1, *(len(column.continuations) for column in columns)]),
    )


def _lines(steps: Sequence[Step], columns: Sequence[Column]) -> Iterator[Line]:
    for column in columns:
        for row, continuation in enumerate(column.continuations):
            start = SIZE["root"], 0
            parent = parent_of(steps, column.step, continuation)
            if parent is not None:
                before = columns[column.step - 2]
                start = before.x + before.width, before.continuations.index(parent)
            yield Line(column.step, continuation, start, (column.x, row))
