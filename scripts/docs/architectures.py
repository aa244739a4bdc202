"""The site's table of architectures, made by running a tiny random model of each.

In a page ``<!-- architectures -->`` becomes a table of all adapters, with their features, and
``<!-- refused -->`` one of the architectures that are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from beamgen import adapters, features, refusals

_PLACE = "<!-- architectures -->"
_REFUSED = "<!-- refused -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places in a page that has them (a hook of MkDocs)."""
    for place, table in ((_PLACE, _table), (_REFUSED, _refused)):
        if place in markdown:
            markdown = markdown.replace(place, "\n".join(table()))
    return markdown


def _table() -> Iterator[str]:
    yield "| adapter | `model_type` | class | features |"
    yield "|---|---|---|---|"
    for adapter in adapters():
        listed = ", ".join(features(adapter))
        yield (
            f"| {adapter.name} | `{adapter.model_type}` | `{adapter.class_names[0]}` | {listed} |"
        )


def _refused() -> Iterator[str]:
    yield "| | `model_type` | why not | instead |"
    yield "|---|---|---|---|"
    for refusal in refusals():
        listed = ", ".join(f"`{name}`" for name in refusal.model_types)
        yield f"| {refusal.kind} | {listed} | {refusal.reason} | {refusal.cure} |"
