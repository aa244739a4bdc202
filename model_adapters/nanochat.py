"""nanochat (Karpathy)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class NanoChatAdapter(DecoderAdapter):
    """nanochat of ``transformers``: squared ReLU, norms without weights, a capped head."""

    name = "nanochat"
    model_type = "nanochat"
    class_names = ("NanoChatForCausalLM", "NanoChatModel")
    since = "5.24"
