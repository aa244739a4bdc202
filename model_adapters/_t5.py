"""What T5 and mT5 have in common."""

from __future__ import annotations

from inspect import ismethod
from types import MethodType
from typing import TYPE_CHECKING, Any

from beamgen.adapter import KVGeometry, PositionLimits
from beamgen.seq2seq_adapter import Seq2SeqAdapter

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

#: Distances need no table, so that no length ends them.
_ENDLESS = 2**31


class T5Kin(Seq2SeqAdapter):
    """A bias by distance instead of positions, and scores that are not scaled."""

    tiny_sizes = {
        "d_model": 64,
        "d_kv": 16,
        "d_ff": 128,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 16,
        "dropout_rate": 0.0,
        "bos_token_id": None,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "initializer_factor": 0.4,  # scores are not scaled: by more, float32 cannot tell them apart
    }

    def source_positions(self, config: PretrainedConfig) -> None:
        """Any."""
        del config

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """The decoder's layers, whose heads need not add up to its width."""
        return KVGeometry(config.num_decoder_layers, config.num_heads, config.d_kv)

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """None that the model has."""
        del config
        return PositionLimits(max_positions=_ENDLESS)

    def prepare(self, model: PreTrainedModel) -> None:
        """Let the decoder attend as other models do: its products are written out in each layer."""
        for module in self.attention_of(model):
            module.forward = MethodType(attend, module)
            module.decoder_config = model.get_decoder().config

    def attention_of(self, model: PreTrainedModel) -> list[Any]:
        """Every layer of the decoder that attends, to its own tokens or to what was encoded."""
        every = model.get_decoder().modules()
        return [each for each in every if hasattr(each, "relative_attention_num_buckets")]

    def encode(self, model: PreTrainedModel, sources: dict[str, torch.Tensor]) -> torch.Tensor:
        """The encoder's hidden states; it refuses the cache that exporters switch on."""
        hidden: torch.Tensor = model.get_encoder()(**sources, use_cache=False).last_hidden_state
        return hidden

    def cross_attention(self, model: PreTrainedModel) -> list[tuple[Any, Any]]:
        """The layers that make keys and values of what was encoded."""
        crossing = [block.layer[1].EncDecAttention for block in model.get_decoder().block]
        return [(each.k, each.v) for each in crossing]

    def place(self, decoder: Any, input_ids: torch.Tensor, position_ids: torch.Tensor) -> None:
        """Nothing is embedded: the first layer reads the cache's positions."""


def attend(
    self: Any,
    hidden_states: torch.Tensor,
    mask: torch.Tensor | None = None,
    key_value_states: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    past_key_values: Any = None,
    cache: Any = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor | None, None]:
    """``T5Attention.forward`` of a decoder, over ``transformers.AttentionInterface``.

    The first layer's bias ``[B, H, N, attended]`` holds the mask, and all others take it.
    """
    from transformers import AttentionInterface

    cache = past_key_values if cache is None else cache  # its name since transformers 5.24

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], self.n_heads, self.key_value_proj_dim).transpose(1, 2)

    if key_value_states is not None:
        layer = cache.cross_attention_cache.layers[self.layer_idx]
        keys, values, bias = layer.keys, layer.values, None
    else:
        new = (heads(self.k(hidden_states)), heads(self.v(hidden_states)))
        keys, values = cache.update(*new, self.layer_idx)
        bias = position_bias
        if bias is None:
            assert mask is not None, "a step gives one"
            bias = mask + _bias_by_distance(self, cache.distances)
    attention = AttentionInterface()[self.decoder_config._attn_implementation]
    attended, _weights = attention(
        self, heads(self.q(hidden_states)), keys, values, bias, scaling=1.0
    )
    return self.o(attended.flatten(2)), bias, None


def _bias_by_distance(attention: Any, distances: torch.Tensor) -> torch.Tensor:
    """``[B, H, N, attended]`` of distances ``[B, N, attended]``; see ``compute_bias``."""
    bucket_of = attention._relative_position_bucket
    told = (
        {}
        if ismethod(bucket_of)
        else {
            "bidirectional": False,
            "num_buckets": attention.relative_attention_num_buckets,
            "max_distance": attention.relative_attention_max_distance,
        }
    )
    bucket = bucket_of(distances, **told)
    bias: torch.Tensor = attention.relative_attention_bias(bucket).permute(0, 3, 1, 2)
    return bias
