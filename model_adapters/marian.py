"""Marian (Helsinki-NLP's Opus-MT): translation between two languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY


def _ends(vocab_size: int) -> dict[str, Any]:
    """The special tokens of a vocabulary of that size: the last one pads, and begins."""
    return {
        "pad_token_id": vocab_size - 1,
        "decoder_start_token_id": vocab_size - 1,
        "eos_token_id": 0,
        "decoder_vocab_size": vocab_size,
    }


@register
class MarianAdapter(Seq2SeqAdapter):
    """Marian of ``transformers``, which begins with the padding token."""

    name = "marian"
    model_type = "marian"
    class_names = ("MarianMTModel",)
    demo = Path(__file__).parent / "demo" / "marian"
    held_out = demo.parent / "held-out-marian.jsonl"
    implied = {"static_position_embeddings": True}
    tiny_sizes = {**TINY, **_ends(96)}
    # Helsinki-NLP/opus-mt-en-de: 6 + 6 layers of 512, 58,101 tokens
    full_sizes = {
        "d_model": 512,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 8,
        "encoder_ffn_dim": 2048,
        "decoder_ffn_dim": 2048,
        "activation_function": "swish",
        "scale_embedding": True,
        "max_position_embeddings": 512,
        "vocab_size": 58_101,
        "forced_eos_token_id": 0,
        **_ends(58_101),
    }
