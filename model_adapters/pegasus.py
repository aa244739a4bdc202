"""Pegasus (Google): summaries."""

from __future__ import annotations

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY


@register
class PegasusAdapter(Seq2SeqAdapter):
    """Pegasus of ``transformers``, which begins with the padding token."""

    name = "pegasus"
    model_type = "pegasus"
    class_names = ("PegasusForConditionalGeneration",)
    implied = {
        "add_final_layer_norm": True,
        "normalize_before": True,
        "static_position_embeddings": True,
    }
    tiny_sizes = {**TINY, "pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 1}
    # google/pegasus-xsum: 16 + 16 layers of 1,024, 96,103 tokens
    full_sizes = {
        "vocab_size": 96103,
        "encoder_layers": 16,
        "decoder_layers": 16,
        "scale_embedding": True,
        "activation_function": "relu",
        "max_position_embeddings": 512,
    }
