"""OLMo 3 (Ai2)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Olmo3Adapter(DecoderAdapter):
    """OLMo 3 of ``transformers``: windows in three of four layers."""

    name = "olmo3"
    model_type = "olmo3"
    class_names = ("Olmo3ForCausalLM", "Olmo3Model")
