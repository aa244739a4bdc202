"""OPT (Meta)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class OPTAdapter(DecoderAdapter):
    """OPT of ``transformers``: learned positions, projections beside the embeddings at will."""

    name = "opt"
    model_type = "opt"
    class_names = ("OPTForCausalLM", "OPTModel")
    tiny_sizes = {"ffn_dim": 128, "word_embed_proj_dim": 64}
    # OPT 125M: 12 layers of 768, 50,272 tokens
    full_sizes = {}
