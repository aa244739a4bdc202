"""Models for tests, made on the spot."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from beamgen.checkpoint.auto_model import auto_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# Random weights at this multiple of their initial scale give lively logits.
_LIVELY = 6.0


def tiny_model(config: PretrainedConfig, seed: int = 0) -> PreTrainedModel:
    """A random model of ``config`` whose logits are peaked enough to end sequences."""
    import torch

    torch.manual_seed(seed)
    model: PreTrainedModel = auto_model(config).from_config(deepcopy(config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(_LIVELY)
    return model
