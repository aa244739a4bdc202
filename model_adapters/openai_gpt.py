"""GPT (OpenAI), the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.registry import register
from model_adapters._old import OldDecoder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@register
class OpenAIGPTAdapter(OldDecoder):
    """GPT-1 of ``transformers``, which has no cache there."""

    name = "openai_gpt"
    model_type = "openai-gpt"
    class_names = ("OpenAIGPTLMHeadModel", "OpenAIGPTModel")
    tiny_sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 256}

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states: HF's own layers, with the keys and values that it computes anew.

        Source: ``OpenAIGPTModel.forward``, ``Block.forward`` and ``Attention.forward``.
        """
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        attend = ALL_ATTENTION_FUNCTIONS[model.config._attn_implementation]
        backbone = model.base_model
        hidden: torch.Tensor = backbone.tokens_embed(input_ids)
        hidden = hidden + backbone.positions_embed(position_ids)
        for index, block in enumerate(backbone.h):
            layer = block.attn
            layer.layer_idx = index
            heads = (*input_ids.shape, layer.n_head, layer.split_size // layer.n_head)
            query, key, value = (
                x.reshape(heads).transpose(1, 2)
                for x in layer.c_attn(hidden).split(layer.split_size, dim=2)
            )
            key, value = cache.update(key, value, index)
            attended, _ = attend(
                layer, query, key, value, attention_bias, scaling=heads[-1] ** -0.5
            )
            hidden = block.ln_1(hidden + layer.c_proj(attended.flatten(2)))
            hidden = block.ln_2(hidden + block.mlp(hidden))
        return hidden
