"""Granite (IBM)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class GraniteAdapter(DecoderAdapter):
    """Granite of ``transformers``: scaled embeddings, attention, residuals and logits."""

    name = "granite"
    model_type = "granite"
    class_names = ("GraniteForCausalLM", "GraniteModel")
