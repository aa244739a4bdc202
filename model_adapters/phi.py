"""Phi 1, 1.5 and 2 (Microsoft)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class PhiAdapter(DecoderAdapter):
    """Phi of ``transformers``: partial rotary positions, attention beside the MLP."""

    name = "phi"
    model_type = "phi"
    class_names = ("PhiForCausalLM", "PhiModel")
    # Phi 1.5: 24 layers of 2048, 51,200 tokens
    full_sizes = {"bos_token_id": 50_256, "eos_token_id": 50_256}
