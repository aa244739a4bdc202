"""ERNIE 4.5 (Baidu), the dense models."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Ernie45Adapter(DecoderAdapter):
    """ERNIE 4.5 of ``transformers``: interleaved rotary positions, biases at will."""

    name = "ernie4_5"
    model_type = "ernie4_5"
    class_names = ("Ernie4_5ForCausalLM", "Ernie4_5Model")
    tiny_sizes = {"head_dim": 16}
