"""What ``generate`` gives a model besides its tokens."""

from __future__ import annotations

import contextlib
import inspect
import io
from contextlib import AbstractContextManager
from typing import Any


def takes_positions(model: Any) -> bool:
    """Whether ``generate`` gives an HF model ``position_ids``, which leave padding out.

    Those of transformers 4 are made by a method that old models have written anew.

    Source: ``GenerationMixin.prepare_inputs_for_generation``; in transformers 5
    ``_prepare_position_ids_for_generation``, whichever the model.
    """
    import torch

    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    if hasattr(model, "_prepare_position_ids_for_generation"):
        return True
    ids = torch.ones(1, 2, dtype=torch.long)
    with silent():
        given = model.prepare_inputs_for_generation(
            ids, attention_mask=ids, cache_position=torch.arange(2), use_cache=False
        )
    return "position_ids" in given


def silent() -> AbstractContextManager[Any]:
    """Keep what an old model prints of its arguments, at each step, out of our own output."""
    return contextlib.redirect_stdout(io.StringIO())
