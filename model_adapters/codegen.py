"""CodeGen (Salesforce)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class CodeGenAdapter(DecoderAdapter):
    """CodeGen of ``transformers``: GPT-J's positions, fused q, k and v; attends by itself."""

    name = "codegen"
    model_type = "codegen"
    class_names = ("CodeGenForCausalLM", "CodeGenModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import CodeGenConfig

        return tiny(CodeGenConfig, n_layer=2, n_embd=64, n_head=4, n_positions=256, rotary_dim=8)
