"""BART (Meta) as a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from model_adapters._bart import SIZES, BartDecoder
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class BartAdapter(BartDecoder):
    """The decoder of ``transformers``' BART alone."""

    name = "bart"
    model_type = "bart"
    class_names = ("BartForCausalLM",)

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import BartConfig

        return tiny(BartConfig, **SIZES)
