"""The site's table of architectures, made by running a tiny random model of each.

In a page ``<!-- architectures -->`` becomes a table of all adapters, with their features, and what
came of comparing each with HF ``generate``: hours, whose results are kept. There
``<!-- what each becomes -->`` becomes one of what ``scripts/adapter_matrix.py`` found, which stands
in ``docs/architectures.json``.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from beamgen import DecoderAdapter, adapters, features

#: What ``adapter_parity.py`` beside this file wrote.
RECORD = Path(__file__).parents[2] / "docs" / "adapter-parity.json"

_PLACE, _MATRIX = "<!-- architectures -->", "<!-- what each becomes -->"
_SHARED = re.compile(r"^from model_adapters\.(_\w+) import", re.MULTILINE)
_FORMATS = Path(__file__).parents[2] / "docs" / "architectures.json"
_COLUMNS = ("int8", "int4", "slots", "merge", "contrib", "genai", "triton", "web")


def digest(adapter: DecoderAdapter) -> str:
    """Of an adapter's file and of those in its folder that it shares with others."""
    file = Path(sys.modules[type(adapter).__module__].__file__ or "")
    text = file.read_text(encoding="utf-8")
    shared = [file.with_name(f"{name}.py") for name in sorted(_SHARED.findall(text))]
    whole = "".join([text, *(each.read_text(encoding="utf-8") for each in shared)])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places in a page that has them (a hook of MkDocs)."""
    if _MATRIX in markdown:
        found = json.loads(_FORMATS.read_text(encoding="utf-8"))
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
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    yield "| adapter | `model_type` | class | features | search grid | settings in pairs |"
    yield "|---|---|---|---|---|---|"
    for adapter in adapters():
        listed = ", ".join(features(adapter))
        found = record["adapters"].get(adapter.name, {})
        if found.get("source") != digest(adapter):  # of a file that is no more
            found = {}
        full, settings = (_counts(found.get(grid, {})) for grid in ("full", "settings"))
        yield (
            f"| {adapter.name} | `{adapter.model_type}` | `{adapter.class_names[0]}` | {listed} "
            f"| {full} | {settings} |"
        )
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    yield f"\nCompared with {versions}, on {record['processor']}."


def _counts(verdicts: Mapping[str, int]) -> str:
    """How many cases are exact, of how many, and what the others are."""
    if not verdicts:
        return "not compared"
    others = [f"{count} {name}" for name, count in verdicts.items() if name != "exact"]
    return ", ".join([f"{verdicts.get('exact', 0)} of {sum(verdicts.values())}", *others])
