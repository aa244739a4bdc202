"""GPT-OSS (OpenAI): a mixture of experts."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class GptOssAdapter(DecoderAdapter):
    """GPT-OSS of ``transformers``: sinks, windows in every other layer, YaRN."""

    name = "gpt_oss"
    model_type = "gpt_oss"
    class_names = ("GptOssForCausalLM", "GptOssModel")
    implied = MappingProxyType({"swiglu_alpha": 1.702, "swiglu_limit": 7.0})

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import GptOssConfig

        return tiny(
            GptOssConfig, head_dim=16, num_local_experts=4, num_experts_per_tok=2, rope_scaling=None
        )
