"""The site's table of architectures, made by running a tiny random model of each.

In a page ``<!-- architectures -->`` becomes a table of all adapters, with their features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from beamgen import adapters, features

_PLACE = "<!-- architectures -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the place in a page that has it (a hook of MkDocs)."""
    return markdown.replace(_PLACE, "\n".join(_table())) if _PLACE in markdown else markdown


def _table() -> Iterator[str]:
    yield "| adapter | `model_type` | class | features |"
    yield "|---|---|---|---|"
    for adapter in adapters():
        listed = ", ".join(features(adapter))
        yield (
            f"| {adapter.name} | `{adapter.model_type}` | `{adapter.class_names[0]}` | {listed} |"
        )
