"""PLBart: BART for programs, their summaries and translation."""

from __future__ import annotations

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY


@register
class PLBartAdapter(Seq2SeqAdapter):
    """PLBart of ``transformers``."""

    name = "plbart"
    model_type = "plbart"
    class_names = ("PLBartForConditionalGeneration",)
    tiny_sizes = TINY
    # uclanlp/plbart-base: 6 + 6 layers of 768, 50,005 tokens
    full_sizes = {"decoder_start_token_id": 2}
