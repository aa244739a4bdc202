"""ERNIE 4.5 (Baidu), the dense models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Ernie45Adapter(DecoderAdapter):
    """ERNIE 4.5 of ``transformers``: interleaved rotary positions, biases at will."""

    name = "ernie4_5"
    model_type = "ernie4_5"
    class_names = ("Ernie4_5ForCausalLM", "Ernie4_5Model")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Ernie4_5Config

        return tiny(Ernie4_5Config, head_dim=16)
