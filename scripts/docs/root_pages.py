"""Pages of the site that stand in the repository's root.

``<!-- include: CHANGELOG.md -->`` in a page becomes that file; its links into ``docs/`` become
links between pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_PLACE = re.compile(r"<!-- include: ([\w.]+) -->")
_ROOT = Path(__file__).parents[2]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the place in a page that has it (a hook of MkDocs)."""
    return _PLACE.sub(
        lambda place: (
            (_ROOT / place[1]).read_text(encoding="utf-8").replace("](docs/", "](").strip()
        ),
        markdown,
    )
