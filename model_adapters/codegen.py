"""CodeGen (Salesforce)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class CodeGenAdapter(DecoderAdapter):
    """CodeGen of ``transformers``: GPT-J's positions, fused q, k and v; attends by itself."""

    name = "codegen"
    model_type = "codegen"
    class_names = ("CodeGenForCausalLM", "CodeGenModel")
    tiny_sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 256, "rotary_dim": 8}
