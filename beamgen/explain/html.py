"""An explanation as one HTML page that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from beamgen.explain.picture import escape, svg
from beamgen.explain.story import DROPPED, FINISHED, KEPT, Continuation, Explanation

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #667085; --line: #e4e7ec;
  --paper: #ffffff; --win: #b54708; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #98a2b3;
  --line: #2a3342; --paper: #10141b; --win: #f79009; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 90rem;
  background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; padding-bottom: .5rem; }
.scroll:focus-visible { outline: 2px solid var(--win); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; min-width: 8rem; }
tr.winning td { color: var(--win); font-weight: 600; }
summary { cursor: pointer; padding: .3rem 0; }
ul { padding-left: 1.2rem; }
""".strip()


def page(told: Explanation) -> str:
    """The picture, why the winner won, and every number in tables."""
    title = escape(told.text if told.text is not None else f"prompt of {len(told.ids)} tokens")
    settings = ", ".join(f"{name} {value}" for name, value in told.settings.items())
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}: beams</title><style>{_STYLE}</style></head><body>",
        f'<h1>{title}</h1><p class="soft">{escape(settings)}</p>',
        "<h2>What was found</h2>",
        *_hypotheses(told),
        "<h2>Why the first won</h2>",
        f"<ul>{''.join(f'<li>{escape(_sentence(line))}</li>' for line in told.why)}"
        f"<li>{escape(_sentence(f'the search ended because {told.stopped}'))}</li></ul>",
        "<h2>The beams as they grew</h2>",
        '<p class="soft">A column for each token, best continuation on top; the number is the '
        "summed log-probability, or the score of a finished hypothesis (round). Dashed ones "
        "were dropped; the thick line is the winner. Point at a box for all of it.</p>",
        '<div class="scroll" tabindex="0" role="region" aria-label="tree of beams">',
        svg(told),
        "</div>",
        "<h2>Every continuation</h2>",
        *_steps(told),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _hypotheses(told: Explanation) -> Iterator[str]:
    rows = (
        (
            "winning" if not found.rank else "",
            [
                str(found.rank + 1),
                found.text.strip() if found.text is not None else " ".join(map(str, found.ids)),
                f"{found.score:.4f}",
                f"{found.log_prob:.4f}",
                str(len(found.ids)),
                found.finish_reason,
            ],
        )
        for found in told.hypotheses
    )
    yield from _table(["", "text", "score", "log-probability", "tokens", "ended by"], rows)


def _steps(told: Explanation) -> Iterator[str]:
    heads = ["", "token", "after", "log-probability", "summed", "score", "what became of it"]
    for step in told.steps:
        counted = Counter(c.fate for c in step.continuations)
        fates = ", ".join(f"{counted[fate]} {fate}" for fate in (KEPT, FINISHED, DROPPED))
        yield (
            f"<details><summary>Step {step.step}: {len(step.continuations)} continuations: "
            f"{fates}</summary>"
        )
        yield from _table(
            heads,
            (
                (
                    "winning" if (step.step, c.rank) in told.winning else "",
                    _cells(told, step.step, c),
                )
                for c in step.continuations
            ),
        )
        yield "</details>"


def _cells(told: Explanation, step: int, continuation: Continuation) -> list[str]:
    parent = told.parent(step, continuation)
    ended = continuation.hypothesis_score
    return [
        str(continuation.rank + 1),
        continuation.text,
        "" if parent is None else told.text_of(step - 1, parent),
        f"{continuation.log_prob:.4f}",
        f"{continuation.score:.4f}",
        "" if ended is None else f"{ended:.4f}",
        f"{continuation.fate}: {continuation.reason}",
    ]


def _table(heads: list[str], rows: Iterable[tuple[str, list[str]]]) -> Iterator[str]:
    """Columns of numbers are those whose heads say so."""
    kinds = [_KINDS.get(head, "") for head in heads]
    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(
        f'<th scope="col" class="{kind}">{escape(head)}</th>'
        for kind, head in zip(kinds, heads, strict=True)
    )
    yield "</tr></thead><tbody>"
    for mark, cells in rows:
        columns = "".join(
            f'<td class="{kind}">{escape(cell)}</td>'
            for kind, cell in zip(kinds, cells, strict=True)
        )
        yield f'<tr class="{mark}">{columns}</tr>'
    yield "</tbody></table></div>"


_KINDS = {
    "": "number",
    "score": "number",
    "log-probability": "number",
    "summed": "number",
    "tokens": "number",
    "token": "text",
    "after": "text",
    "text": "text",
}
