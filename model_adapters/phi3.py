"""Phi-3 (Microsoft): grouped-query attention, rotary positions, LongRoPE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter, PositionLimits
from beamgen.registry import register
from model_adapters._longrope import recomputed

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Phi3Adapter(DecoderAdapter):
    """Phi-3 of ``transformers``: GQA, fused QKV and gate/up, rotary positions."""

    name = "phi3"
    model_type = "phi3"
    class_names = ("Phi3ForCausalLM", "Phi3Model")
    demo = Path(__file__).parent / "demo" / "phi3"
    held_out = Path(__file__).parent / "demo" / "held-out-phi3.txt"
    fused = {
        "qkv_proj": ("q_proj", "k_proj", "v_proj"),
        "gate_up_proj": ("gate_proj", "up_proj"),
    }
    tiny_sizes = {"original_max_position_embeddings": 256}
    # Phi-3's layers in the size of a small model: 8 of 1024, four query heads to a key/value head
    full_sizes = {
        "num_hidden_layers": 8,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "intermediate_size": 2816,
        "vocab_size": 32064,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "bos_token_id": 1,
        "pad_token_id": 0,
        "eos_token_id": 2,
    }

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """The limits, with the length at which LongRoPE switches factors."""
        return recomputed(super().position_limits(config), config)
