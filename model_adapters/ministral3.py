"""Ministral 3 (Mistral AI), its text model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class Ministral3Adapter(DecoderAdapter):
    """Ministral 3 of ``transformers``: YaRN, and queries that grow with their position."""

    name = "ministral3"
    model_type = "ministral3"
    class_names = ("Ministral3ForCausalLM", "Ministral3Model")
    since = "5.24"

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import Ministral3Config

        return tiny(Ministral3Config, head_dim=16)
