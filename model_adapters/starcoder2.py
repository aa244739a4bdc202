"""StarCoder2 (BigCode)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Starcoder2Adapter(DecoderAdapter):
    """StarCoder2 of ``transformers``: biases, a window that all layers keep."""

    name = "starcoder2"
    model_type = "starcoder2"
    class_names = ("Starcoder2ForCausalLM", "Starcoder2Model")
