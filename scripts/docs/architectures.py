"""The site's table of architectures, made by running a tiny random model of each.

In a page ``<!-- architectures -->`` becomes a table of all adapters, with their features, and
``<!-- what each becomes -->`` one of what ``scripts/adapter_matrix.py`` found, which stands in
``docs/architectures.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beamgen import adapters, features

_PLACE, _MATRIX = "<!-- architectures -->", "<!-- what each becomes -->"
_RECORD = Path(__file__).parents[2] / "docs" / "architectures.json"
_COLUMNS = ("int8", "int4", "slots", "merge", "contrib", "genai", "triton", "web")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places in a page that has them (a hook of MkDocs)."""
    if _MATRIX in markdown:
        found = json.loads(_RECORD.read_text(encoding="utf-8"))
        markdown = markdown.replace(_MATRIX, "\n".join(matrix(found)))
    return markdown.replace(_PLACE, "\n".join(_table())) if _PLACE in markdown else markdown


def matrix(found: dict[str, Any]) -> Iterator[str]:
    """The table of a record, and below it each refusal and difference in full."""
    yield f"| adapter | {' | '.join(_COLUMNS)} |"
    yield "|---|" + "---|" * len(_COLUMNS)
    notes: list[str] = []
    for name, row in found["adapters"].items():
        cells = [_cell(row[column], notes) if column in row else "" for column in _COLUMNS]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    for number, note in enumerate(notes, start=1):
        yield f"{number}. {note}"


def _cell(cell: dict[str, str | None], notes: list[str]) -> str:
    if cell["outcome"] == "works":
        return "works"
    note = "; ".join(text for text in (cell["said"], cell["cure"]) if text)
    if note not in notes:
        notes.append(note)
    return f"{cell['outcome']} ({notes.index(note) + 1})"


def _table() -> Iterator[str]:
    yield "| adapter | `model_type` | class | features |"
    yield "|---|---|---|---|"
    for adapter in adapters():
        listed = ", ".join(features(adapter))
        yield (
            f"| {adapter.name} | `{adapter.model_type}` | `{adapter.class_names[0]}` | {listed} |"
        )
