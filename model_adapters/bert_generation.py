"""BERT checkpoints for generation (Google)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from model_adapters._bert import BertDecoder
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class BertGenerationAdapter(BertDecoder):
    """The decoder of ``transformers``' BertGeneration; attends by itself."""

    name = "bert_generation"
    model_type = "bert-generation"
    class_names = ("BertGenerationDecoder", "BertGenerationEncoder")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import BertGenerationConfig

        return tiny(BertGenerationConfig, is_decoder=True)
