"""The site's table of architectures, made by running a tiny random model of each.

In a page ``<!-- architectures -->`` becomes a table of all adapters, with their features, and
``<!-- refused -->`` one of the architectures that are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from beamgen import DecoderAdapter, adapters, features, refusals

#: What ``adapter_parity.py`` beside this file wrote.
RECORD = Path(__file__).parents[2] / "docs" / "adapter-parity.json"

_PLACE = "<!-- architectures -->"
_REFUSED = "<!-- refused -->"
_SHARED = re.compile(r"^from model_adapters\.(_\w+) import", re.MULTILINE)


def digest(adapter: DecoderAdapter) -> str:
    """Of an adapter's file and of those in its folder that it shares with others."""
    file = Path(sys.modules[type(adapter).__module__].__file__ or "")
    text = file.read_text(encoding="utf-8")
    shared = [file.with_name(f"{name}.py") for name in sorted(_SHARED.findall(text))]
    whole = "".join([text, *(each.read_text(encoding="utf-8") for each in shared)])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places in a page that has them (a hook of MkDocs)."""
    for place, table in ((_PLACE, _table), (_REFUSED, _refused)):
        if place in markdown:
            markdown = markdown.replace(place, "\n".join(table()))
    return markdown


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
    processors = dict.fromkeys(held["processor"] for held in record["adapters"].values())
    yield f"\nCompared with {versions}, on {' or '.join(processors)}."


def _counts(verdicts: Mapping[str, int]) -> str:
    """How many cases are exact, of how many, and what the others are."""
    if not verdicts:
        return "not compared"
    others = [f"{count} {name}" for name, count in verdicts.items() if name != "exact"]
    return ", ".join([f"{verdicts.get('exact', 0)} of {sum(verdicts.values())}", *others])


def _refused() -> Iterator[str]:
    yield "| | `model_type` | why not | instead |"
    yield "|---|---|---|---|"
    for refusal in refusals():
        listed = ", ".join(f"`{name}`" for name in refusal.model_types)
        yield f"| {refusal.kind} | {listed} | {refusal.reason} | {refusal.cure} |"
