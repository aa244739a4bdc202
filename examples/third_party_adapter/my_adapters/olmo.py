"""Olmo."""

from __future__ import annotations

from beamgen import DecoderAdapter, register


@register
class OlmoAdapter(DecoderAdapter):
    """Olmo of ``transformers``."""

    name = "olmo"
    model_type = "olmo"
    class_names = ("OlmoForCausalLM", "OlmoModel")
