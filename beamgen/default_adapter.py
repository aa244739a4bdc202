"""The adapter for an architecture that has none: what Hugging Face's names say."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from beamgen.adapter import TINY_SIZES, TINY_TOKENS, DecoderAdapter, KVGeometry, PositionLimits
from beamgen.errors import AdapterError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: What ``--adapter`` and a manifest call it.
DEFAULT = "default"

#: Sizes that some configs have besides, or call otherwise.
_MORE_SIZES = {
    "head_dim": 16,
    "ffn_dim": 128,
    "dff": 128,
    "ffn_hidden_size": 128,
    "n_inner": 128,
    "n_positions": 256,
    "max_seq_len": 256,
    "rotary_dim": 8,
    "embedding_size": 64,
    "word_embed_proj_dim": 64,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "shared_intermediate_size": 32,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    # of what has an encoder, too, whose sizes are to differ (fewer layers fail in HF)
    "encoder_layers": 3,
    "encoder_ffn_dim": 64,
    "num_encoder_layers": 3,
    "decoder_layers": 2,
    "decoder_ffn_dim": 128,
    "decoder_attention_heads": 2,
    "num_decoder_layers": 2,
    "num_decoder_attention_heads": 2,
}


class DefaultAdapter(DecoderAdapter):
    """Any decoder of ``transformers`` whose config has the names that most share.

    Nobody has looked at such a model, so that only parity tells whether it is right.
    """

    name = DEFAULT
    model_type = ""
    class_names = ()

    def __init__(self, config: PretrainedConfig | None = None) -> None:
        """Stand for the architecture of ``config``, or for any."""
        self._config = config
        if config is not None:
            self.model_type = config.model_type  # type: ignore[misc] # this one's own

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens, with the class's own defaults for the rest."""
        assert self._config is not None, "a tiny config is of one architecture"
        config_class = type(self._config)
        return config_class(**tiny_sizes(config_class))

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """Shape of the KV cache, where the config has the names of its sizes.

        Raises:
            AdapterError: it has not.
        """
        _check_named(config, ("num_hidden_layers", "num_attention_heads", "hidden_size"))
        return super().kv_geometry(config)

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """How long a sequence may be, where the config says so.

        Raises:
            AdapterError: it does not.
        """
        _check_named(config, ("max_position_embeddings",))
        return super().position_limits(config)


def _check_named(config: PretrainedConfig, names: tuple[str, ...]) -> None:
    missing = [name for name in names if getattr(config, name, None) is None]
    if missing:
        raise AdapterError(
            f"{type(config).__name__} has no {', '.join(missing)}",
            "an adapter of its own has to say what its sizes are called",
        )


def tiny_sizes(config_class: type[PretrainedConfig]) -> dict[str, Any]:
    """What to call a config's class with for a tiny model, under the class's own names.

    A size that the class leaves open, or holds smaller by default, is left to it.
    """
    taken = inspect.signature(config_class.__init__).parameters
    other_names = getattr(config_class, "attribute_map", {})
    sizes: dict[str, Any] = {}
    for name, size in {**TINY_SIZES, **_MORE_SIZES}.items():
        own = name if name in taken else other_names.get(name, name)
        if own not in taken or own in sizes:
            continue
        default = taken[own].default
        if name in TINY_SIZES or (isinstance(default, int) and default > size):
            sizes[own] = size
    for own, parameter in taken.items():
        if kinds := _kinds_of_layers(parameter.default):
            sizes[own] = [[kinds[: TINY_SIZES["num_hidden_layers"]], 1]]
    if "kv_lora_rank" in sizes:  # compressed keys are spread over all heads
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    return {**sizes, **TINY_TOKENS}


def _kinds_of_layers(default: Any) -> list[str]:
    """The kinds that ``[[kinds, times], ...]`` spells out, layer by layer; else none."""
    try:
        return [kind for kinds, times in default for kind in kinds * times if isinstance(kind, str)]
    except (TypeError, ValueError):
        return []
