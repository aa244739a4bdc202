"""OLMo 2 (Ai2)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class Olmo2Adapter(DecoderAdapter):
    """OLMo 2 of ``transformers``: norms after attention and MLP, of queries and keys."""

    name = "olmo2"
    model_type = "olmo2"
    class_names = ("Olmo2ForCausalLM", "Olmo2Model")
    # OLMo 2 1B: 16 layers of 2048, 100,352 tokens
    full_sizes = {
        "vocab_size": 100_352,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "max_position_embeddings": 4096,
        "rope_theta": 500_000.0,
        "bos_token_id": 100_257,
        "eos_token_id": 100_257,
        "pad_token_id": 100_277,
    }
