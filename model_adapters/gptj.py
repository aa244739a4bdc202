"""GPT-J (EleutherAI)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class GPTJAdapter(DecoderAdapter):
    """GPT-J of ``transformers``: interleaved, partial rotary positions; attends by itself."""

    name = "gptj"
    model_type = "gptj"
    class_names = ("GPTJForCausalLM", "GPTJModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import GPTJConfig

        return tiny(GPTJConfig, n_layer=2, n_embd=64, n_head=4, n_positions=256, rotary_dim=8)
