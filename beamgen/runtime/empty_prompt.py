"""A prompt of no tokens begins as HF's ``generate`` begins without ``input_ids``."""

from __future__ import annotations

import json
from collections.abc import Sequence

from beamgen.errors import PromptError
from beamgen.package.folder import Package

_GENERATION_CONFIG = "generation_config.json"


def begun(batch: Sequence[list[int]], package: Package) -> list[list[int]]:
    """Prompts of token ids, the empty ones of the BOS alone.

    Raises:
        PromptError: one is empty, and the model has no BOS.

    Source: ``_maybe_initialize_input_ids_for_generation`` of transformers.
    """
    empty = [row for row, ids in enumerate(batch, start=1) if not ids]
    if not empty:
        return list(batch)
    bos = _bos_token_id(package)
    if bos is None:
        raise PromptError(
            f"prompt {empty[0]} of {len(batch)} is empty, and the package's {_GENERATION_CONFIG} "
            "names no bos_token_id to begin with",
            "give it a token at least",
        )
    return [ids or [bos] for ids in batch]


def _bos_token_id(package: Package) -> int | None:
    """Of the checkpoint's generation defaults, which the package has as a file."""
    try:
        text = (package.folder / _GENERATION_CONFIG).read_text(encoding="utf-8")
        bos = json.loads(text).get("bos_token_id")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return bos if isinstance(bos, int) else None
