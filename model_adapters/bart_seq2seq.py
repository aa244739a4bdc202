"""BART (Meta): summaries and other texts made of texts."""

from __future__ import annotations

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY


@register
class BartSeq2SeqAdapter(Seq2SeqAdapter):
    """BART of ``transformers``, encoder and decoder; ``bart`` is the decoder alone."""

    name = "bart_seq2seq"
    model_type = "bart"
    class_names = ("BartForConditionalGeneration",)
    implied = {"normalize_embedding": True}
    tiny_sizes = TINY
    # facebook/bart-base: 6 + 6 layers of 768, 50,265 tokens
    full_sizes = {
        "d_model": 768,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_attention_heads": 12,
        "decoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
        "decoder_ffn_dim": 3072,
    }
