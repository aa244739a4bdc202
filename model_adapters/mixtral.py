"""Mixtral (Mistral AI): a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class MixtralAdapter(DecoderAdapter):
    """Mixtral of ``transformers``: all experts stand in the graph."""

    name = "mixtral"
    model_type = "mixtral"
    class_names = ("MixtralForCausalLM", "MixtralModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import MixtralConfig

        return tiny(MixtralConfig, num_local_experts=4)
