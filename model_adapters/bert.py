"""BERT (Google) as a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from model_adapters._bert import BertDecoder
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class BertAdapter(BertDecoder):
    """BERT of ``transformers`` with ``is_decoder``; attends by itself."""

    name = "bert"
    model_type = "bert"
    class_names = ("BertLMHeadModel", "BertModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import BertConfig

        return tiny(BertConfig, is_decoder=True)
