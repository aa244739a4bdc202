"""StableLM (Stability AI)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class StableLmAdapter(DecoderAdapter):
    """StableLM of ``transformers``: partial rotary positions; attends by itself."""

    name = "stablelm"
    model_type = "stablelm"
    class_names = ("StableLmForCausalLM", "StableLmModel")
