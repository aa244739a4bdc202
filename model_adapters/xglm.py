"""XGLM (Meta)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, hands_masks_on
from beamgen.registry import register

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@register
class XGLMAdapter(DecoderAdapter):
    """XGLM of ``transformers``: sinusoidal positions; attends by itself."""

    name = "xglm"
    model_type = "xglm"
    class_names = ("XGLMForCausalLM", "XGLMModel")
    tiny_sizes = {"num_layers": 2, "d_model": 64, "attention_heads": 4, "ffn_dim": 128}

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states; older HF code inverts a 4-D mask of ones and zeros."""
        if not hands_masks_on(model.base_model):
            attention_bias = (attention_bias == 0).to(attention_bias.dtype)
        # which shifts the positions in place, too
        return super().forward(model, input_ids, position_ids.clone(), attention_bias, cache)
