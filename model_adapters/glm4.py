"""GLM-4 (Zhipu)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Glm4Adapter(DecoderAdapter):
    """GLM-4 of ``transformers``: partial, interleaved rotary positions, four norms a layer."""

    name = "glm4"
    model_type = "glm4"
    class_names = ("Glm4ForCausalLM", "Glm4Model")
    tiny_sizes = {"head_dim": 16}
