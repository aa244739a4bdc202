"""GPT-NeoX and Pythia (EleutherAI)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class GPTNeoXAdapter(DecoderAdapter):
    """GPT-NeoX of ``transformers``: fused q, k and v, partial rotary positions."""

    name = "gpt_neox"
    model_type = "gpt_neox"
    class_names = ("GPTNeoXForCausalLM", "GPTNeoXModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import GPTNeoXConfig

        return tiny(GPTNeoXConfig)
