"""Nemotron and Minitron (NVIDIA)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class NemotronAdapter(DecoderAdapter):
    """Nemotron of ``transformers``: squared ReLU, partial rotary positions."""

    name = "nemotron"
    model_type = "nemotron"
    class_names = ("NemotronForCausalLM", "NemotronModel")
