"""Blenderbot Small (Meta): conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class BlenderbotSmallAdapter(Seq2SeqAdapter):
    """Blenderbot Small of ``transformers``, normalized behind each block."""

    name = "blenderbot_small"
    model_type = "blenderbot-small"
    class_names = ("BlenderbotSmallForConditionalGeneration",)

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import BlenderbotSmallConfig

        return BlenderbotSmallConfig(**TINY)

    def full_config(self) -> PretrainedConfig:
        """``facebook/blenderbot_small-90M``: 8 + 8 layers of 512, 54,944 tokens."""
        from transformers import BlenderbotSmallConfig

        return BlenderbotSmallConfig(vocab_size=54944, scale_embedding=True)
