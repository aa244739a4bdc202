"""RoBERTa (Meta) as a decoder."""

from __future__ import annotations

from beamgen.registry import register
from model_adapters._bert import BertDecoder


@register
class RobertaAdapter(BertDecoder):
    """RoBERTa of ``transformers`` with ``is_decoder``.

    Its positions begin at 0, as ``generate`` gives them, and not after ``pad_token_id``.
    """

    name = "roberta"
    model_type = "roberta"
    class_names = ("RobertaForCausalLM", "RobertaModel")
