"""AFM (Arcee)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class ArceeAdapter(DecoderAdapter):
    """Arcee of ``transformers``: Llama's layers with a squared ReLU."""

    name = "arcee"
    model_type = "arcee"
    class_names = ("ArceeForCausalLM", "ArceeModel")
    tiny_sizes = {"head_dim": 16}
