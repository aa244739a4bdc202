"""BioGPT (Microsoft): biomedical GPT-2 kin with its own layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class BioGptAdapter(DecoderAdapter):
    """BioGPT of ``transformers``: learned positions (offset 2), scaled embeddings."""

    name = "biogpt"
    model_type = "biogpt"
    class_names = ("BioGptForCausalLM", "BioGptModel")
    demo = Path(__file__).parent / "demo" / "biogpt"
    held_out = Path(__file__).parent / "demo" / "held-out-biogpt.txt"

    def full_config(self) -> PretrainedConfig:
        """The config of ``microsoft/biogpt``: 24 layers of 1024, 42,384 tokens."""
        from transformers import BioGptConfig

        return BioGptConfig(bos_token_id=0, pad_token_id=1, eos_token_id=2)

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import BioGptConfig

        return BioGptConfig(
            num_hidden_layers=2,
            hidden_size=64,
            num_attention_heads=4,
            intermediate_size=128,
            vocab_size=96,
            max_position_embeddings=256,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
        )
