"""What an architecture does, found out from its tiny config and by running a tiny random model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.auto_model import auto_model
from beamgen.checkpoint.example_inputs import example_inputs
from beamgen.errors import MissingExtraError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_WATCHED = "beamgen_watched"
_EXPERTS = re.compile(r"^(num_(local_)?experts|n_routed_experts|moe_num_experts)$")
_PARTIAL = ("partial_rotary_factor", "rotary_pct", "rotary_dim", "qk_rope_head_dim")
_ABSOLUTE = re.compile(r"(^|\.)(wpe|embed_positions|position_embeddings)$")


@dataclass
class _Seen:
    """What layers handed to attention: how many did, and which extras."""

    layers: set[int] = field(default_factory=set)
    extras: set[str] = field(default_factory=set)


def features(adapter: DecoderAdapter) -> list[str]:
    """Features of an architecture in a few words each: attention, positions, layers, engine.

    They are those that its class has, be they on in its tiny config or not; none are known
    where the transformers that is installed has no such class.

    Raises:
        MissingExtraError: torch or transformers is not installed.
    """
    if adapter.needs is not None:
        return [f"needs transformers {adapter.needs}"]
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("finding features", "export", error.name or "torch") from error
    config = adapter.tiny_config()
    with torch.random.fork_rng(devices=[]):
        model = auto_model(config).from_config(config).eval()
    seen = _watch(model)
    return [
        *(["encoder-decoder"] if config.is_encoder_decoder else []),
        *_heads(adapter, config),
        *_positions(config, model),
        *_windows(vars(config)),
        *_by_field(vars(config)),
        *(["sinks"] if "s_aux" in seen.extras else []),
        *([] if seen.layers else ["attends by itself"]),
        *(["positions count padding"] if adapter.counts_padding else []),
    ]


def _heads(adapter: DecoderAdapter, config: PretrainedConfig) -> Iterator[str]:
    geometry = adapter.kv_geometry(config)
    heads = getattr(config, "num_attention_heads", geometry.num_kv_heads)
    if geometry.num_kv_heads == 1:
        yield "one key head"
    elif geometry.num_kv_heads < heads:
        yield "grouped keys"
    if geometry.value_dim is not None:
        yield "values of another width"
    if geometry.states:
        yield "a state per beam"


def _positions(config: PretrainedConfig, model: PreTrainedModel) -> Iterator[str]:
    own = vars(config)
    named = "rotary_dim" in own or "rope_theta" in own
    if named or any(hasattr(module, "inv_freq") for module in model.modules()):
        partial = any(isinstance(own.get(name), int | float) for name in _PARTIAL)
        scaled = "rope_scaling" in own or "rope_parameters" in own
        kinds = " of any kind" if scaled else ""
        yield f"{'partial ' if partial else ''}rotary positions{kinds}"
    elif any(_ABSOLUTE.search(name) for name, _ in model.named_modules()):
        yield "absolute positions"
    if "alibi" in str(own) or "build_alibi_tensor" in dir(model.base_model):
        yield "ALiBi"
    if any(name.endswith("relative_attention_bias") for name, _ in model.named_modules()):
        yield "relative positions"


def _windows(own: dict[str, Any]) -> Iterator[str]:
    if own.get("layer_types") or own.get("attention_layers"):
        yield "windows per layer"
    elif "sliding_window" in own:
        yield "a window"


def _by_field(own: dict[str, Any]) -> Iterator[str]:
    if any(_EXPERTS.match(name) for name in own):
        yield "experts"
    if any("softcap" in name for name in own):
        yield "soft caps"
    if "logit_scale" in own or "logits_scaling" in own:
        yield "scaled logits"


def _watch(model: PreTrainedModel) -> _Seen:
    """Run a model once, and see which layers attend through ``AttentionInterface``."""
    import torch

    seen = _Seen()
    with _attending(seen) as name, torch.no_grad():
        for module in model.modules():
            config: Any = getattr(module, "config", None)
            if config is not None:
                config._attn_implementation = name
        try:
            ids = torch.ones(1, 3, dtype=torch.long)
            model(**example_inputs(model.config, ids), use_cache=False)
        except Exception:  # one that knows its own implementations only
            return _Seen()
    return seen


@contextmanager
def _attending(seen: _Seen) -> Iterator[str]:
    """The name of an implementation of attention that tells what it was asked for."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    def attention(
        module: Any, query: Any, key: Any, values: Any, *_: Any, **given: Any
    ) -> tuple[Any, None]:
        seen.layers.add(getattr(module, "layer_idx", len(seen.layers)))
        seen.extras.update(name for name, value in given.items() if value is not None)
        batch, heads, tokens, _ = query.shape  # of keys there may be more, or fewer
        return query.new_zeros(batch, tokens, heads, values.shape[3]), None

    def no_mask(*_: Any, **__: Any) -> None:
        """One prompt of one length needs none."""

    AttentionInterface.register(_WATCHED, attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_WATCHED, no_mask)
    yield _WATCHED
