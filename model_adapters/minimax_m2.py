"""MiniMax-M2: a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class MiniMaxM2Adapter(DecoderAdapter):
    """MiniMax-M2 of ``transformers``: partial rotary positions, experts chosen by sigmoids."""

    name = "minimax_m2"
    model_type = "minimax_m2"
    class_names = ("MiniMaxM2ForCausalLM", "MiniMaxM2Model")
    since = "5.24"

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import MiniMaxM2Config

        return tiny(MiniMaxM2Config, head_dim=16, num_local_experts=4, num_experts_per_tok=2)
