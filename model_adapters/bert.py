"""BERT (Google) as a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class BertAdapter(DecoderAdapter):
    """BERT of ``transformers`` with ``is_decoder``; attends by itself."""

    name = "bert"
    model_type = "bert"
    class_names = ("BertLMHeadModel", "BertModel")

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import BertConfig

        return tiny(BertConfig, is_decoder=True)

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
