"""Nemotron and Minitron (NVIDIA)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class NemotronAdapter(DecoderAdapter):
    """Nemotron of ``transformers``: squared ReLU, partial rotary positions."""

    name = "nemotron"
    model_type = "nemotron"
    class_names = ("NemotronForCausalLM", "NemotronModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import NemotronConfig

        return tiny(NemotronConfig)
