"""Blenderbot Small (Meta): conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY

if TYPE_CHECKING:
    pass


@register
class BlenderbotSmallAdapter(Seq2SeqAdapter):
    """Blenderbot Small of ``transformers``, normalized behind each block."""

    name = "blenderbot_small"
    model_type = "blenderbot-small"
    class_names = ("BlenderbotSmallForConditionalGeneration",)
    tiny_sizes = TINY
    # facebook/blenderbot_small-90M: 8 + 8 layers of 512, 54,944 tokens
    full_sizes = {"vocab_size": 54944, "scale_embedding": True}
