"""SantaCoder and StarCoder (BigCode)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter, KVGeometry
from beamgen.registry import register

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class GPTBigCodeAdapter(DecoderAdapter):
    """GPT-BigCode of ``transformers``: GPT-2's layers, whose queries may share one key head."""

    name = "gpt_bigcode"
    model_type = "gpt_bigcode"
    class_names = ("GPTBigCodeForCausalLM", "GPTBigCodeModel")
    tiny_sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 256}

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """One head where queries share it (``multi_query``), else as many as queries have."""
        heads = config.num_attention_heads
        shared = 1 if config.multi_query else heads
        return KVGeometry(config.num_hidden_layers, shared, config.hidden_size // heads)
