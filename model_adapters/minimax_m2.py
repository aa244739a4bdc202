"""MiniMax-M2: a mixture of experts."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class MiniMaxM2Adapter(DecoderAdapter):
    """MiniMax-M2 of ``transformers``: partial rotary positions, experts chosen by sigmoids."""

    name = "minimax_m2"
    model_type = "minimax_m2"
    class_names = ("MiniMaxM2ForCausalLM", "MiniMaxM2Model")
    since = "5.24"
    tiny_sizes = {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2}
