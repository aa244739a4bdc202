"""OPT (Meta)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class OPTAdapter(DecoderAdapter):
    """OPT of ``transformers``: learned positions, projections beside the embeddings at will."""

    name = "opt"
    model_type = "opt"
    class_names = ("OPTForCausalLM", "OPTModel")

    def full_config(self) -> PretrainedConfig:
        """The config of OPT 125M: 12 layers of 768, 50,272 tokens."""
        from transformers import OPTConfig

        return OPTConfig()

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import OPTConfig

        return tiny(OPTConfig, ffn_dim=128, word_embed_proj_dim=64)
