"""OLMoE (Ai2): a mixture of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._experts import route_by_softmax

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@register
class OlmoeAdapter(DecoderAdapter):
    """OLMoE of ``transformers``: normalized queries and keys; attends by itself."""

    name = "olmoe"
    model_type = "olmoe"
    class_names = ("OlmoeForCausalLM", "OlmoeModel")
    tiny_sizes = {"num_experts": 4, "num_experts_per_tok": 2}
    # OLMoE 1B-7B: 16 layers of 64 experts, of which a token meets 8
    full_sizes = {
        "vocab_size": 50_304,
        "hidden_size": 2048,
        "intermediate_size": 1024,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "max_position_embeddings": 4096,
        "pad_token_id": 1,
        "eos_token_id": 50_279,
    }

    def prepare(self, model: PreTrainedModel) -> None:
        """Let each layer call its experts at once."""
        route_by_softmax(model)
