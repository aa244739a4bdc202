"""The tree of beams as a picture that stands alone: the page's tree, in SVG."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from beamgen.explain.beams import FINISHED, KEPT, Continuation, Place, Step, text_up_to
from beamgen.explain.layout import SIZE, Column, Layout, Line, lay_out
from beamgen.explain.markup import escape
from beamgen.explain.token_signs import percent, spelled
from beamgen.formats.web.page_parts import palettes

# In pixels: around the tree, beside a box's text, of its corners; widths of characters, for
# whose font only the viewer knows.
_MARGIN, _INSET, _ROUND = 12, 8, 6
_NARROW, _USUAL, _BROAD = 5, 8, 13

_STYLE = """
svg.beams {{ {light} font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }}
@media (prefers-color-scheme: dark) {{ svg.beams {{ {dark} }} }}
svg.beams text {{ fill: var(--ink); font-variant-numeric: tabular-nums; }}
svg.beams .head {{ fill: var(--faint); font-size: 12px; text-anchor: middle; }}
svg.beams .root, svg.beams .share {{ fill: var(--soft); }}
svg.beams .share {{ text-anchor: end; }}
svg.beams .paper {{ fill: var(--raised); }}
svg.beams g rect {{ fill: var(--raised); stroke: var(--edge); }}
svg.beams .finished rect {{ fill: var(--done-wash); stroke: var(--done); }}
svg.beams .finished .token {{ fill: var(--done); }}
svg.beams .finished .bar {{ fill: var(--done); stroke: none; }}
svg.beams .dropped rect {{ fill: none; stroke: var(--line); stroke-dasharray: 3 3; }}
svg.beams .dropped text {{ fill: var(--faint); }}
svg.beams .on-path rect {{ fill: var(--accent-wash); stroke: var(--accent); }}
svg.beams .on-path .token {{ fill: var(--accent); font-weight: 600; }}
svg.beams path {{ fill: none; stroke: var(--edge); stroke-width: 1.25; }}
svg.beams path.dropped {{ stroke: var(--line); stroke-width: .75; }}
svg.beams path.on-path {{ stroke: var(--accent); stroke-width: 2.25; }}
""".strip()


def draw(
    steps: Sequence[Step], on_path: Collection[Place], eos_token_ids: Collection[int], label: str
) -> str:
    """Draw a search.

    Every box is a continuation, in its step's column and at its rank; its text in full,
    its numbers and its fate are its tooltip.

    Args:
        steps: of the search.
        on_path: the continuations that are drawn as one coloured path.
        eos_token_ids: ids that end a sequence.
        label: the picture in a sentence, for those who do not see it.
    """
    tree = _Tree(steps, frozenset(on_path), frozenset(eos_token_ids))
    layout = lay_out(steps, tree.width_of)
    width = layout.width + 2 * _MARGIN
    height = SIZE["top"] + layout.rows * SIZE["row"] + _MARGIN
    light, dark = palettes()
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="beams" width="{width}" '
            f'height="{height}" viewBox="{-_MARGIN} 0 {width} {height}" role="img" '
            f'aria-label="{escape(label)}">',
            f"<style>{_STYLE.format(light=light, dark=dark)}</style>",
            f'<rect class="paper" x="{-_MARGIN}" width="{width}" height="{height}" rx="8"/>',
            *tree.lines(layout),
            *tree.boxes(layout),
            "</svg>\n",
        ]
    )


@dataclass(frozen=True)
class _Tree:
    """What is drawn."""

    steps: Sequence[Step]
    on_path: frozenset[Place]
    eos_token_ids: frozenset[int]

    def width_of(self, continuation: Continuation) -> int:
        """Of its box, by a guess at the viewer's font."""
        shown = spelled(continuation, self.eos_token_ids), percent(continuation.log_prob)
        return min(_width("".join(shown)) + SIZE["padding"], SIZE["widest"])

    def lines(self, layout: Layout) -> Iterator[str]:
        """From the best to the dropped ones, the path's last and so on top."""
        for line in sorted(layout.lines, key=lambda line: self._is_on_path(line)):
            (x0, row0), (x1, row1) = line.start, line.end
            y0, y1, bend = _middle(row0), _middle(row1), (x1 - x0) / 2
            kind = "on-path" if self._is_on_path(line) else line.continuation.fate
            yield (
                f'<path class="{kind}" d="M{x0} {y0:g}C{x0 + bend:g} {y0:g} '
                f'{x1 - bend:g} {y1:g} {x1} {y1:g}"/>'
            )

    def boxes(self, layout: Layout) -> Iterator[str]:
        """The prompt, and each column under the number of its step."""
        yield f'<text class="root" x="0" y="{_baseline(0):g}">prompt</text>'
        for column in layout.columns:
            middle = column.x + column.width / 2
            yield f'<text class="head" x="{middle:g}" y="16">{column.step}</text>'
            for row, continuation in enumerate(column.continuations):
                yield self._box(column, row, continuation)

    def _box(self, column: Column, row: int, continuation: Continuation) -> str:
        x, y, width = column.x, SIZE["top"] + row * SIZE["row"], column.width
        fate = continuation.fate
        on_path = " on-path" if (column.step, continuation.rank) in self.on_path else ""
        share = percent(continuation.log_prob)
        token = _cut(
            spelled(continuation, self.eos_token_ids), width - SIZE["padding"] - _width(share)
        )
        bar = _bar(x + width, y) if fate == FINISHED else ""
        return (
            f'<g class="{fate}{on_path}">'
            f"<title>{escape(self._tooltip(column.step, continuation))}</title>"
            f'<rect x="{x}" y="{y}" width="{width}" height="{SIZE["box"]}" rx="{_ROUND}"/>{bar}'
            f'<text class="token" x="{x + _INSET}" y="{_baseline(row):g}">{escape(token)}</text>'
            f'<text class="share" x="{x + width - _INSET}" y="{_baseline(row):g}">'
            f"{escape(share)}</text></g>"
        )

    def _tooltip(self, step: int, continuation: Continuation) -> str:
        lines = [
            text_up_to(self.steps, step, continuation),
            f"token {continuation.token}, log-probability {continuation.log_prob:.4f}, "
            f"summed {continuation.score:.4f}",
        ]
        if continuation.hypothesis_score is not None:
            lines.append(f"with the length penalty {continuation.hypothesis_score:.4f}")
        fate = "" if continuation.fate == KEPT else f"{continuation.fate}: "
        return "\n".join([*lines, f"{fate}{continuation.reason}"])

    def _is_on_path(self, line: Line) -> bool:
        return (line.step, line.continuation.rank) in self.on_path


def _bar(right: int, y: int) -> str:
    """The mark of an answer, at the right within a box's corners."""
    low = y + SIZE["box"]
    corner = f"A{_ROUND} {_ROUND} 0 0 1"
    return (
        f'<path class="bar" d="M{right - 4} {y + 0.3:g}{corner} {right} {y + _ROUND}'
        f'V{low - _ROUND}{corner} {right - 4} {low - 0.3:g}Z"/>'
    )


def _width(text: str) -> int:
    return sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if char in "mwMW%@■…" or unicodedata.east_asian_width(char) in "FW":
        return _BROAD
    return _NARROW if char in "iIljtfr.,:;!|'·()[]" else _USUAL


def _cut(text: str, width: int) -> str:
    """As much of the beginning as there is room for."""
    if _width(text) <= width:
        return text
    while text and _width(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _middle(row: int) -> float:
    return SIZE["top"] + row * SIZE["row"] + SIZE["box"] / 2


def _baseline(row: int) -> float:
    return _middle(row) + 4.5
