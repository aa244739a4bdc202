"""Helium (Kyutai)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class HeliumAdapter(DecoderAdapter):
    """Helium of ``transformers``: interleaved rotary positions."""

    name = "helium"
    model_type = "helium"
    class_names = ("HeliumForCausalLM", "HeliumModel")
    tiny_sizes = {"head_dim": 16}
