"""mT5 (Google): T5 v1.1 in many languages."""

from __future__ import annotations

from beamgen.registry import register
from model_adapters._t5 import T5Kin


@register
class MT5Adapter(T5Kin):
    """mT5 of ``transformers``."""

    name = "mt5"
    model_type = "mt5"
    class_names = ("MT5ForConditionalGeneration",)
    # its head is not the embedding, and not scaled: smaller weights give as lively logits
    tiny_sizes = {**T5Kin.tiny_sizes, "initializer_factor": 0.15}
