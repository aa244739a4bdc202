"""What a model makes of its backbone's hidden states: its head, scales, caps and biases."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from beamgen.errors import AdapterError


class _Encoded(BaseModelOutput):  # type: ignore[misc] # transformers is untyped
    """An encoder's output that holds its hidden states and nothing else."""

    def __getattr__(self, name: str) -> None:
        return None


class _Hidden:
    """A backbone's output that holds the last hidden states and nothing else."""

    def __init__(self, hidden: torch.Tensor) -> None:
        self.last_hidden_state = hidden

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, index: Any) -> Any:
        return (self.last_hidden_state,)[index]


def logits(
    model: PreTrainedModel, hidden: torch.Tensor, encoded: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits ``[B, n, V]`` of hidden states ``[B, n, hidden]``.

    The model's own ``forward`` runs behind a backbone that answers with ``hidden``, so that
    whatever it does after the backbone is done. An encoder-decoder is handed besides what was
    ``encoded``, so that it runs no encoder.

    Raises:
        AdapterError: the model asks no backbone that ``base_model`` or ``get_decoder`` names.
    """
    asked = False

    def answer(*_: Any, **__: Any) -> _Hidden:
        nonlocal asked
        asked = True
        return _Hidden(hidden)

    backbones = _backbones(model)
    for backbone in backbones:
        backbone.__dict__["forward"] = answer  # before the class's
    try:
        ids = torch.zeros(hidden.shape[:2], dtype=torch.long)
        # not called as a module, whose name would stand in the trace
        found: torch.Tensor = model.forward(**_given(ids, encoded), use_cache=False).logits
    finally:
        for backbone in backbones:
            del backbone.__dict__["forward"]
    if not asked:
        raise AdapterError(
            f"{type(model).__name__} computes its logits without the backbone that "
            "base_model or get_decoder names",
            "this architecture cannot be exported",
        )
    return found


def _given(ids: torch.Tensor, encoded: torch.Tensor | None) -> dict[str, Any]:
    if encoded is None:
        return {"input_ids": ids}
    return {"decoder_input_ids": ids, "encoder_outputs": _Encoded(encoded)}


def _backbones(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The modules whose hidden states the head is given: one within another, or one alone."""
    decoder = model.get_decoder()
    named = [model.base_model, getattr(decoder, "base_model", decoder)]
    return [module for module in dict.fromkeys(named) if module not in (None, model)]
