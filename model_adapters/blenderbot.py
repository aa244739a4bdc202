"""Blenderbot (Meta): conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY

if TYPE_CHECKING:
    pass


@register
class BlenderbotAdapter(Seq2SeqAdapter):
    """Blenderbot of ``transformers``, normalized before each block."""

    name = "blenderbot"
    model_type = "blenderbot"
    class_names = ("BlenderbotForConditionalGeneration",)
    tiny_sizes = {
        **TINY,
        "encoder_layers": 1,
    }  # as in the published ones, fewer than of the decoder
    # facebook/blenderbot-400M-distill: 2 + 12 layers of 1,280, 8,008 tokens
    full_sizes = {
        "d_model": 1280,
        "encoder_layers": 2,
        "decoder_layers": 12,
        "encoder_ffn_dim": 5120,
        "decoder_ffn_dim": 5120,
        "scale_embedding": True,
    }
