"""BERT (Google) as a decoder."""

from __future__ import annotations

from beamgen.registry import register
from model_adapters._bert import BertDecoder


@register
class BertAdapter(BertDecoder):
    """BERT of ``transformers`` with ``is_decoder``; attends by itself."""

    name = "bert"
    model_type = "bert"
    class_names = ("BertLMHeadModel", "BertModel")
