"""The site's table of what each adapter becomes.

In a page ``<!-- what each becomes -->`` becomes a table of what ``scripts/adapter_matrix.py``
found, which stands in ``docs/adapter-matrix.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parents[2] / "docs" / "adapter-matrix.json"

_PLACE = "<!-- what each becomes -->"
_COLUMNS = ("int8", "int4", "slots", "merge", "contrib", "genai", "triton", "web")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the place in a page that has it (a hook of MkDocs)."""
    if _PLACE not in markdown:
        return markdown
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    return markdown.replace(_PLACE, "\n".join(table(record)))


def table(record: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the table, and below it each refusal in full and what it was made with."""
    yield f"| adapter | {' | '.join(_COLUMNS)} |"
    yield "|---|" + "---|" * len(_COLUMNS)
    notes: list[str] = []
    for name, row in record["adapters"].items():
        cells = [_cell(row[column], notes) if column in row else "" for column in _COLUMNS]
        other = f" (transformers {row['transformers']})" if "transformers" in row else ""
        yield f"| {name}{other} | {' | '.join(cells)} |"
    yield ""
    for number, note in enumerate(notes, start=1):
        yield f"{number}. {note}"
    yield ""
    yield f"Made with {', '.join(f'{name} {of}' for name, of in record['versions'].items())}."


def _cell(cell: Mapping[str, str | None], notes: list[str]) -> str:
    if cell["outcome"] == "works":
        return "works"
    note = "; ".join(text for text in (cell["said"], cell["cure"]) if text)
    if note not in notes:
        notes.append(note)
    return f"{cell['outcome']} ({notes.index(note) + 1})"
