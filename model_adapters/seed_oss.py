"""Seed-OSS (ByteDance)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class SeedOssAdapter(DecoderAdapter):
    """Seed-OSS of ``transformers``: Llama's layers with biases in attention."""

    name = "seed_oss"
    model_type = "seed_oss"
    class_names = ("SeedOssForCausalLM", "SeedOssModel")
    tiny_sizes = {"head_dim": 16}
