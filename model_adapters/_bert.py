"""What BERT and the models in its shape share as decoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, PositionLimits, hands_masks_on
from beamgen.errors import AdapterError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


class BertDecoder(DecoderAdapter):
    """Attends by itself before transformers 5, with a mask of its own kind."""

    implied = {"position_embedding_type": "absolute"}
    tiny_sizes = {"is_decoder": True}

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """How long a sequence may be.

        Raises:
            AdapterError: the checkpoint is an encoder, as most are.
        """
        if not config.is_decoder:
            raise AdapterError(
                f"this '{config.model_type}' checkpoint is an encoder, which reads in both "
                "directions: is_decoder is false in its config.json",
                "export a checkpoint that was trained as a decoder, whose is_decoder is true",
            )
        return super().position_limits(config)

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states; older HF code takes a mask of ones and zeros with three axes."""
        if not hands_masks_on(model.base_model):
            attention_bias = (attention_bias == 0).to(attention_bias.dtype)[:, 0]
        return super().forward(model, input_ids, position_ids, attention_bias, cache)
