"""The site's table of search parameters, from the code.

``<!-- parameters -->`` in a page becomes a table of all inputs with a default.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_PLACE = "<!-- parameters -->"

#: Of these a checkpoint decides.
_OF_THE_CHECKPOINT = ("eos_token_id", "pad_token_id")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the place in a page that has it (a hook of MkDocs)."""
    return markdown.replace(_PLACE, _table()) if _PLACE in markdown else markdown


def _table() -> str:
    from beamgen.settings.config import SearchConfig
    from beamgen.settings.parameters import PARAMETERS

    defaults = SearchConfig(eos_token_id=(), pad_token_id=0).inputs()
    rows = [
        f"| `{parameter.name}` | {parameter.dtype} `[{', '.join(parameter.axes)}]` "
        f"| {_default(parameter.name, defaults[parameter.name])} | {parameter.meaning} |"
        for parameter in PARAMETERS
    ]
    return "\n".join(["| input | type, shape | default | meaning |", "|---|---|---|---|", *rows])


def _default(name: str, value: np.ndarray) -> str:
    if name in _OF_THE_CHECKPOINT:
        return "the checkpoint's"
    return ", ".join(f"{number:g}" for number in value.flat) or "none"
