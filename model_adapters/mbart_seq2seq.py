"""mBART (Meta): translation between many languages."""

from __future__ import annotations

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY


@register
class MBartSeq2SeqAdapter(Seq2SeqAdapter):
    """mBART of ``transformers``, encoder and decoder; ``mbart`` is the decoder alone."""

    name = "mbart_seq2seq"
    model_type = "mbart"
    class_names = ("MBartForConditionalGeneration",)
    implied = {"add_final_layer_norm": True, "normalize_before": True, "normalize_embedding": True}
    tiny_sizes = TINY
    # facebook/mbart-large-50: 12 + 12 layers of 1,024, 250,054 tokens
    full_sizes = {"vocab_size": 250054, "decoder_start_token_id": 2, "scale_embedding": True}
