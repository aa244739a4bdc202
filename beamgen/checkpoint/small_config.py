"""A checkpoint's config made small: its shapes are cut, and its features kept.

Features that depend on a length, windows of attention and boundaries of rotary positions, are
drawn in, so that a short prompt reaches beyond them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: Of windows and boundaries in a small config.
SMALL_LENGTH = 8

#: Fields, or keys of rotary scaling, that hold a length at which a model changes.
_LENGTH = re.compile(r"(window|chunk)(_size)?$|^original_max_position_embeddings$")
_SWITCHED_OFF_BY = {"sliding_window": "use_sliding_window"}
_BANDS = ("short_factor", "long_factor")
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def lengths(config: PretrainedConfig) -> dict[str, int]:
    """Windows of attention and boundaries of rotary positions in a config, by field.

    Those of nested dicts under their keys' path, ``rope_scaling.original_max_position_embeddings``.
    """
    found = {".".join(path): size for path, size in _lengths(vars(config), ())}
    for name, switch in _SWITCHED_OFF_BY.items():
        if getattr(config, switch, True) is False:
            found.pop(name, None)
    return found


def small_config(config: PretrainedConfig, tiny: PretrainedConfig) -> PretrainedConfig:
    """The config with the sizes of ``tiny``, as few layers as have all kinds, and short lengths.

    Args:
        config: a checkpoint's.
        tiny: of the same class, with sizes that fit each other.
    """
    small = deepcopy(config)
    own, sizes = vars(small), vars(tiny)
    kept = _kept_layers(config)
    count = config.num_hidden_layers
    for name, value in own.items():
        if name in _IDS:
            own[name] = sizes.get(name)
        elif isinstance(value, list | tuple) and len(value) == count:
            own[name] = [value[layer] for layer in kept]
        elif not _is_size(value):
            continue
        elif "layer" in name and not _is_size_or_rhythm(config, name):
            own[name] = len(kept) if value >= count else min(value, 1)
        elif _is_size(sizes.get(name)):
            own[name] = min(value, sizes[name])
    small.num_hidden_layers = len(kept)
    _set_heads(small, config, tiny)
    for path, size in _lengths(own, ()):
        _set(own, path, min(size, SMALL_LENGTH))
    _cut_bands(own, config, small)
    return small


def _kept_layers(config: PretrainedConfig) -> list[int]:
    """The first layer of each kind, by all lists of one value per layer; two at least."""
    count: int = config.num_hidden_layers
    lists = [x for x in vars(config).values() if isinstance(x, list | tuple) and len(x) == count]
    kinds = list(zip(*lists, strict=True)) if lists else [()] * count
    first = {repr(kind): layer for layer, kind in reversed(list(enumerate(kinds)))}
    kept = set(first.values())
    return sorted(kept if len(kept) > 1 else {0, min(1, count - 1)})


def _set_heads(small: Any, config: Any, tiny: Any) -> None:
    """As many query heads for each key as there were: one, all, or some."""
    heads = small.num_attention_heads
    head_dim = getattr(config, "head_dim", None)
    if "head_dim" in vars(small) and head_dim:
        small.head_dim = getattr(tiny, "head_dim", None) or small.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None)
    if not kv_heads or "num_key_value_heads" not in {*vars(small), *small.attribute_map}:
        return
    if kv_heads == config.num_attention_heads:
        small.num_key_value_heads = heads
    else:
        small.num_key_value_heads = 1 if kv_heads == 1 else max(1, heads // 2)


def _cut_bands(own: dict[str, Any], config: Any, small: Any) -> None:
    """One factor for each band of rotary positions that is left."""
    before, after = (
        getattr(each, "head_dim", None) or each.hidden_size // each.num_attention_heads
        for each in (config, small)
    )
    for scaling in _dicts(own):
        for name in _BANDS:
            if isinstance(factors := scaling.get(name), Sequence):
                count = max(1, len(factors) * after // before)
                scaling[name] = [factors[i * len(factors) // count] for i in range(count)]


def _lengths(fields: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[Any, int]]:
    for name, value in list(fields.items()):
        if isinstance(value, dict):
            yield from _lengths(value, (*path, name))
        elif _is_size(value) and isinstance(name, str) and _LENGTH.search(name):
            yield (*path, name), value


def _set(fields: dict[str, Any], path: Sequence[str], value: int) -> None:
    for name in path[:-1]:
        fields = fields[name]
    fields[path[-1]] = value


def _dicts(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield fields
    for value in fields.values():
        if isinstance(value, dict):
            yield from _dicts(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_size_or_rhythm(config: PretrainedConfig, name: str) -> bool:
    """Whether a field of layers is their number, or says every how many a kind comes."""
    return name == _own_name(config, "num_hidden_layers") or name.endswith(("_period", "_offset"))


def _own_name(config: PretrainedConfig, name: str) -> str:
    return str(config.attribute_map.get(name, name))
