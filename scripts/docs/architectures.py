"""The site's table of architectures, made by running a tiny random model of each.

In a page ``<!-- architectures -->`` becomes a table of all adapters, with their features.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beamgen import DecoderAdapter, adapters, features

#: What ``adapter_parity.py`` beside this file wrote.
RECORD = Path(__file__).parents[2] / "docs" / "adapter-parity.json"

_PLACE = "<!-- architectures -->"
_SHARED = re.compile(r"^from model_adapters\.(_\w+) import", re.MULTILINE)


def digest(adapter: DecoderAdapter) -> str:
    """Of an adapter's file and of those in its folder that it shares with others."""
    file = Path(sys.modules[type(adapter).__module__].__file__ or "")
    text = file.read_text(encoding="utf-8")
    shared = [file.with_name(f"{name}.py") for name in sorted(_SHARED.findall(text))]
    whole = "".join([text, *(each.read_text(encoding="utf-8") for each in shared)])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


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
