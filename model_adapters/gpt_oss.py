"""GPT-OSS (OpenAI): a mixture of experts."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class GptOssAdapter(DecoderAdapter):
    """GPT-OSS of ``transformers``: sinks, windows in every other layer, YaRN."""

    name = "gpt_oss"
    model_type = "gpt_oss"
    class_names = ("GptOssForCausalLM", "GptOssModel")
    implied = {"swiglu_alpha": 1.702, "swiglu_limit": 7.0}
    tiny_sizes = {
        "head_dim": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "rope_scaling": None,
    }
