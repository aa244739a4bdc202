"""PLBart: BART for programs, their summaries and translation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class PLBartAdapter(Seq2SeqAdapter):
    """PLBart of ``transformers``."""

    name = "plbart"
    model_type = "plbart"
    class_names = ("PLBartForConditionalGeneration",)

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import PLBartConfig

        return PLBartConfig(**TINY)

    def full_config(self) -> PretrainedConfig:
        """``uclanlp/plbart-base``: 6 + 6 layers of 768, 50,005 tokens."""
        from transformers import PLBartConfig

        return PLBartConfig(decoder_start_token_id=2)
