"""BERT checkpoints for generation (Google)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class BertGenerationAdapter(DecoderAdapter):
    """The decoder of ``transformers``' BertGeneration; attends by itself."""

    name = "bert_generation"
    model_type = "bert-generation"
    class_names = ("BertGenerationDecoder", "BertGenerationEncoder")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import BertGenerationConfig

        return tiny(BertGenerationConfig, is_decoder=True)

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states; HF takes a mask of ones and zeros with three axes."""
        seen = (attention_bias == 0).to(attention_bias.dtype)[:, 0]
        return super().forward(model, input_ids, position_ids, seen, cache)
