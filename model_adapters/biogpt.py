"""BioGPT (Microsoft): biomedical GPT-2 kin with its own layers."""

from __future__ import annotations

from pathlib import Path

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class BioGptAdapter(DecoderAdapter):
    """BioGPT of ``transformers``: learned positions (offset 2), scaled embeddings."""

    name = "biogpt"
    model_type = "biogpt"
    class_names = ("BioGptForCausalLM", "BioGptModel")
    demo = Path(__file__).parent / "demo" / "biogpt"
    held_out = Path(__file__).parent / "demo" / "held-out-biogpt.txt"
    tiny_sizes = {"bos_token_id": 0, "pad_token_id": 1}
    # microsoft/biogpt: 24 layers of 1024, 42,384 tokens
    full_sizes = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
