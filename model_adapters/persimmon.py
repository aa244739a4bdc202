"""Persimmon (Adept)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class PersimmonAdapter(DecoderAdapter):
    """Persimmon of ``transformers``: squared ReLU, normalized queries and keys."""

    name = "persimmon"
    model_type = "persimmon"
    class_names = ("PersimmonForCausalLM", "PersimmonModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import PersimmonConfig

        return tiny(PersimmonConfig)
