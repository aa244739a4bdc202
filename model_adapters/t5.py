"""T5 (Google): T5, T5 v1.1, Flan-T5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from model_adapters._t5 import TINY, T5Kin

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class T5Adapter(T5Kin):
    """T5 of ``transformers``."""

    name = "t5"
    model_type = "t5"
    class_names = ("T5ForConditionalGeneration",)

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import T5Config

        return T5Config(**TINY)

    def full_config(self) -> PretrainedConfig:
        """``google-t5/t5-small``: 6 + 6 layers of 512, 32,128 tokens."""
        from transformers import T5Config

        return T5Config(
            num_decoder_layers=6, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1
        )
