"""UMT5 (Google): mT5 whose every layer has a bias of its own."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from beamgen.registry import register
from model_adapters._t5 import T5Kin, attend

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@register
class UMT5Adapter(T5Kin):
    """UMT5 of ``transformers``."""

    name = "umt5"
    model_type = "umt5"
    class_names = ("UMT5ForConditionalGeneration",)
    # its head is not the embedding, and not scaled: smaller weights give as lively logits
    tiny_sizes = {**T5Kin.tiny_sizes, "initializer_factor": 0.15}
    # google/umt5-small: 8 + 8 layers of 512, 256,384 tokens
    full_sizes = {
        "vocab_size": 256384, "decoder_start_token_id": 0, "tie_word_embeddings": False,
    }  # fmt: skip

    def prepare(self, model: PreTrainedModel) -> None:
        """Let the decoder attend as other models do, by its own names."""
        super().prepare(model)
        for module in self.attention_of(model):
            module.forward = MethodType(_attend, module)


def _attend(
    self: Any,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    **given: Any,
) -> tuple[torch.Tensor, None]:
    """``UMT5Attention.forward`` of a decoder, as ``T5Attention``'s with its bias not handed on."""
    found, *_ = attend(self, hidden_states, attention_mask, encoder_hidden_states, **given)
    return found, None
