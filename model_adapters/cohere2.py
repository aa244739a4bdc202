"""Command R7B and A (Cohere)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Cohere2Adapter(DecoderAdapter):
    """Cohere 2 of ``transformers``: windows, and every fourth layer without positions."""

    name = "cohere2"
    model_type = "cohere2"
    class_names = ("Cohere2ForCausalLM", "Cohere2Model")
