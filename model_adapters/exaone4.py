"""EXAONE 4 (LG)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Exaone4Adapter(DecoderAdapter):
    """EXAONE 4 of ``transformers``: windows, and every fourth layer without positions."""

    name = "exaone4"
    model_type = "exaone4"
    class_names = ("Exaone4ForCausalLM", "Exaone4Model")
