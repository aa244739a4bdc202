"""Mixtral (Mistral AI): a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._experts import route_by_softmax

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@register
class MixtralAdapter(DecoderAdapter):
    """Mixtral of ``transformers``: all experts stand in the graph."""

    name = "mixtral"
    model_type = "mixtral"
    class_names = ("MixtralForCausalLM", "MixtralModel")
    tiny_sizes = {"num_local_experts": 4}
    # Mixtral 8x7B: 32 layers of 8 experts, of which a token meets 2
    full_sizes = {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32_768,
        "rope_theta": 1_000_000.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }

    def prepare(self, model: PreTrainedModel) -> None:
        """Let each layer call its experts at once."""
        route_by_softmax(model)
