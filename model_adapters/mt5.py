"""mT5 (Google): T5 v1.1 in many languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from model_adapters._t5 import TINY, T5Kin

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class MT5Adapter(T5Kin):
    """mT5 of ``transformers``."""

    name = "mt5"
    model_type = "mt5"
    class_names = ("MT5ForConditionalGeneration",)

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens, gated and with a head of its own."""
        from transformers import MT5Config

        # its head is not the embedding, and not scaled: smaller weights give as lively logits
        return MT5Config(**{**TINY, "initializer_factor": 0.15})
