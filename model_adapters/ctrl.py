"""CTRL (Salesforce)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.registry import register
from model_adapters._old import OldDecoder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@register
class CTRLAdapter(OldDecoder):
    """CTRL of ``transformers``: sinusoids for positions."""

    name = "ctrl"
    model_type = "ctrl"
    class_names = ("CTRLLMHeadModel", "CTRLModel")
    tiny_sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "dff": 128, "n_positions": 256}

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states: HF's own layers, which make a mask of their own and flatten ours.

        Source: ``CTRLModel.forward`` and ``MultiHeadAttention.forward``.
        """
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        attend = ALL_ATTENTION_FUNCTIONS[model.config._attn_implementation]
        backbone = model.base_model
        hidden: torch.Tensor = backbone.w(input_ids) * backbone.d_model_size**0.5
        hidden = hidden + backbone.pos_encoding[position_ids]
        for block in backbone.h:
            layer, normed = block.multi_head_attention, block.layernorm1(hidden)
            heads = (*input_ids.shape, layer.num_heads, layer.d_model_size // layer.num_heads)
            query, key, value = (
                project(normed).reshape(heads).transpose(1, 2)
                for project in (layer.Wq, layer.Wk, layer.Wv)
            )
            key, value = cache.update(key, value, layer.layer_idx)
            attended, _ = attend(
                layer, query, key, value, attention_bias, scaling=heads[-1] ** -0.5
            )
            hidden = hidden + layer.dense(attended.flatten(2))
            hidden = hidden + block.ffn(block.layernorm2(hidden))
        found: torch.Tensor = backbone.layernorm(hidden)
        return found
