"""Command R (Cohere)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class CohereAdapter(DecoderAdapter):
    """Cohere of ``transformers``: interleaved rotary positions, scaled logits."""

    name = "cohere"
    model_type = "cohere"
    class_names = ("CohereForCausalLM", "CohereModel")
