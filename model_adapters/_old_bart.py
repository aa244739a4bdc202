"""BART's kin from before the attention interface of transformers, which make their own masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.seq2seq_adapter import Seq2SeqAdapter

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class OldBartKin(Seq2SeqAdapter):
    """The decoder's layers are written out here, with attention as other models have it."""

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """Hidden states ``[B, N, hidden]``.

        Source: ``MvpDecoder.forward``, ``MvpDecoderLayer.forward``, and LED's.
        """
        from transformers import AttentionInterface

        decoder = model.get_decoder()
        attention = AttentionInterface()[decoder.config._attn_implementation]

        def heads(layer: Any, x: torch.Tensor) -> torch.Tensor:
            return x.view(*x.shape[:2], layer.num_heads, layer.head_dim).transpose(1, 2)

        def attend(layer: Any, x: torch.Tensor, keys: Any, values: Any, bias: Any) -> torch.Tensor:
            query = heads(layer, layer.q_proj(x))
            found, _ = attention(layer, query, keys, values, bias, scaling=layer.scaling)
            attended: torch.Tensor = layer.out_proj(found.flatten(2))
            return attended

        table = decoder.embed_positions
        x: torch.Tensor = decoder.embed_tokens(input_ids) * getattr(decoder, "embed_scale", 1.0)
        x = decoder.layernorm_embedding(
            x + table.weight[position_ids + getattr(table, "offset", 0)]
        )
        for index, layer in enumerate(decoder.layers):
            own = layer.self_attn
            new = (heads(own, own.k_proj(x)), heads(own, own.v_proj(x)))
            keys, values = cache.update(*new, index)
            x = layer.self_attn_layer_norm(x + attend(own, x, keys, values, attention_bias))
            crossed = cache.cross_attention_cache.layers[index]
            found = attend(layer.encoder_attn, x, crossed.keys, crossed.values, None)
            x = layer.encoder_attn_layer_norm(x + found)
            x = layer.final_layer_norm(x + layer.fc2(layer.activation_fn(layer.fc1(x))))
        return x
