"""T5 (Google): T5, T5 v1.1, Flan-T5."""

from __future__ import annotations

from pathlib import Path

from beamgen.registry import register
from model_adapters._t5 import T5Kin


@register
class T5Adapter(T5Kin):
    """T5 of ``transformers``."""

    name = "t5"
    model_type = "t5"
    class_names = ("T5ForConditionalGeneration",)
    demo = Path(__file__).parent / "demo" / "t5"
    held_out = demo.parent / "held-out-t5.jsonl"
    # google-t5/t5-small: 6 + 6 layers of 512, 32,128 tokens
    full_sizes = {
        "num_decoder_layers": 6,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }
