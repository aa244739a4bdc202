"""BERT checkpoints for generation (Google)."""

from __future__ import annotations

from beamgen.registry import register
from model_adapters._bert import BertDecoder


@register
class BertGenerationAdapter(BertDecoder):
    """The decoder of ``transformers``' BertGeneration; attends by itself."""

    name = "bert_generation"
    model_type = "bert-generation"
    class_names = ("BertGenerationDecoder", "BertGenerationEncoder")
