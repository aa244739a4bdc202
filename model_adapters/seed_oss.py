"""Seed-OSS (ByteDance)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class SeedOssAdapter(DecoderAdapter):
    """Seed-OSS of ``transformers``: Llama's layers with biases in attention."""

    name = "seed_oss"
    model_type = "seed_oss"
    class_names = ("SeedOssForCausalLM", "SeedOssModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import SeedOssConfig

        return tiny(SeedOssConfig, head_dim=16)
