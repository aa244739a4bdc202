"""RoBERTa (Meta) as a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from model_adapters._bert import BertDecoder
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class RobertaAdapter(BertDecoder):
    """RoBERTa of ``transformers`` with ``is_decoder``.

    Its positions begin at 0, as ``generate`` gives them, and not after ``pad_token_id``.
    """

    name = "roberta"
    model_type = "roberta"
    class_names = ("RobertaForCausalLM", "RobertaModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import RobertaConfig

        return tiny(RobertaConfig, is_decoder=True)
