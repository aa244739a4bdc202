"""The tree of beams as SVG: a column for each step, a row for each rank."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape as _escape

from beamgen.explain.story import FINISHED, KEPT, Continuation, Explanation

# In pixels of the picture.
_COLUMN, _ROW = 172, 30
_BOX = 132, 22
_LEFT, _TOP, _BOTTOM = 44, 34, 12
_TOKEN_CHARS = 11

#: Colours by the reader's scheme; a page that holds the picture may set the variables.
STYLE = """
svg.beams { --ink: #1c2430; --soft: #667085; --line: #c3cad5; --box: #ffffff; --kept: #e8eef8;
  --done: #e3f4e8; --done-line: #2f8f4e; --win: #b54708; background: transparent;
  font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; }
@media (prefers-color-scheme: dark) { svg.beams { --ink: #e6eaf0; --soft: #98a2b3;
  --line: #475467; --box: #161b24; --kept: #222c3d; --done: #16301f; --done-line: #55b877;
  --win: #f79009; } }
svg.beams text { fill: var(--ink); }
svg.beams .head, svg.beams .number { fill: var(--soft); font-size: 11px; }
svg.beams .number { font-variant-numeric: tabular-nums; text-anchor: end; }
svg.beams rect { fill: var(--box); stroke: var(--line); }
svg.beams .kept rect { fill: var(--kept); }
svg.beams .finished rect { fill: var(--done); stroke: var(--done-line); }
svg.beams .dropped { opacity: .7; }
svg.beams .dropped rect { stroke-dasharray: 3 3; }
svg.beams .winning rect { stroke: var(--win); stroke-width: 2; }
svg.beams path { fill: none; stroke: var(--line); stroke-width: 1.25; }
svg.beams path.dropped { opacity: .4; stroke-dasharray: 3 3; }
svg.beams path.winning { stroke: var(--win); stroke-width: 2.25; }
""".strip()


def svg(told: Explanation) -> str:
    """A picture of the search that stands alone, or within a page.

    Every box is a continuation, in its step's column and at its rank; its text in full,
    its numbers and its fate are its tooltip. The winner's path is drawn thick.
    """
    rows = max((len(step.continuations) for step in told.steps), default=0)
    width = _LEFT + len(told.steps) * _COLUMN
    height = _TOP + rows * _ROW + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="beams" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{_label(told)}">',
        f"<style>{STYLE}</style>",
        *_heads(told, rows),
        *_edges(told),
        *_boxes(told),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def escape(text: str) -> str:
    """For XML and HTML, which hold no control characters: their pictures stand for them."""
    return _escape("".join(_shown(char) for char in text))


def _shown(char: str) -> str:
    if char < " " and char not in "\t\n\r":
        return chr(0x2400 + ord(char))
    return (
        "\N{REPLACEMENT CHARACTER}"
        if char in "\ufffe\uffff" or "\ud800" <= char <= "\udfff"
        else char
    )


def _label(told: Explanation) -> str:
    best = told.hypotheses[0].text if told.hypotheses else None
    found = f"; the winner: {best}" if best is not None else ""
    return escape(f"Beams of {len(told.steps)} steps{found}")


def _heads(told: Explanation, rows: int) -> Iterator[str]:
    for step in told.steps:
        x = _x(step.step)
        yield f'<text class="head" x="{x}" y="18">step {step.step}</text>'
    for rank in range(rows):
        yield f'<text class="number" x="{_LEFT - 14}" y="{_y(rank) + 4}">{rank + 1}</text>'


def _edges(told: Explanation) -> Iterator[str]:
    """From the best to the dropped ones, the winner's last and so on top."""
    winning = []
    for step in told.steps:
        for continuation in step.continuations:
            parent = told.parent(step.step, continuation)
            if parent is None:
                continue
            x0, y0 = _x(step.step - 1) + _BOX[0], _y(parent.rank)
            x1, y1 = _x(step.step), _y(continuation.rank)
            middle = (x0 + x1) / 2
            line = f"M{x0} {y0} C{middle:g} {y0} {middle:g} {y1} {x1} {y1}"
            if (step.step, continuation.rank) in told.winning:
                winning.append(f'<path class="winning" d="{line}"/>')
            else:
                yield f'<path class="{continuation.fate}" d="{line}"/>'
    yield from winning


def _boxes(told: Explanation) -> Iterator[str]:
    for step in told.steps:
        for continuation in step.continuations:
            x, y = _x(step.step), _y(continuation.rank)
            won = (step.step, continuation.rank) in told.winning
            shown = continuation.hypothesis_score if continuation.fate == FINISHED else None
            number = continuation.score if shown is None else shown
            yield (
                f'<g class="{continuation.fate}{" winning" if won else ""}">'
                f"<title>{escape(_tooltip(told, step.step, continuation))}</title>"
                f'<rect x="{x}" y="{y - _BOX[1] / 2:g}" width="{_BOX[0]}" height="{_BOX[1]}" '
                f'rx="{_BOX[1] / 2 if continuation.fate == FINISHED else 4:g}"/>'
                f'<text x="{x + 8}" y="{y + 4}">{escape(short(continuation.text))}</text>'
                f'<text class="number" x="{x + _BOX[0] - 8}" y="{y + 4}">{number:.2f}</text></g>'
            )


def _tooltip(told: Explanation, step: int, continuation: Continuation) -> str:
    lines = [
        f"{told.text_of(step, continuation)}",
        f"token {continuation.token}, log-probability {continuation.log_prob:.4f}, "
        f"summed {continuation.score:.4f}",
    ]
    if continuation.hypothesis_score is not None:
        lines.append(f"with the length penalty {continuation.hypothesis_score:.4f}")
    where = "" if continuation.fate == KEPT else f"{continuation.fate}: "
    return "\n".join([*lines, f"{where}{continuation.reason}"])


def short(text: str) -> str:
    """A token's text for a small box: spaces visible, long ones cut."""
    visible = "".join(_VISIBLE.get(char, char) for char in text) or "∅"
    return visible if len(visible) <= _TOKEN_CHARS else f"{visible[: _TOKEN_CHARS - 1]}…"


_VISIBLE = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"}


def _x(step: int) -> int:
    return _LEFT + (step - 1) * _COLUMN


def _y(rank: int) -> int:
    return _TOP + rank * _ROW + _ROW // 2
