"""What BART and mBART share as decoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, KVGeometry, cache_keyword

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


class BartDecoder(DecoderAdapter):
    """The decoder of an encoder-decoder alone: learned positions, which count padding."""

    counts_padding = True
    tiny_sizes = {
        "decoder_layers": 2,
        "d_model": 64,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 128,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "is_encoder_decoder": False,
        "is_decoder": True,
        "forced_eos_token_id": None,
    }

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """The decoder's layers and heads."""
        heads = config.decoder_attention_heads
        return KVGeometry(config.decoder_layers, heads, config.d_model // heads)

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states, at the positions given: HF counts what its cache holds."""
        decoder = model.get_decoder()
        table = decoder.embed_positions
        table.forward = lambda *_, **__: table.weight[position_ids + table.offset]
        output = decoder(
            input_ids=input_ids,
            attention_mask=attention_bias,
            use_cache=True,
            **{cache_keyword(decoder): cache},
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden
