"""nanochat (Karpathy)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class NanoChatAdapter(DecoderAdapter):
    """nanochat of ``transformers``: squared ReLU, norms without weights, a capped head."""

    name = "nanochat"
    model_type = "nanochat"
    class_names = ("NanoChatForCausalLM", "NanoChatModel")
    since = "5.24"

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import NanoChatConfig

        return tiny(NanoChatConfig)
