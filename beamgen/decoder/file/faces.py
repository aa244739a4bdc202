"""The inputs and outputs that a decoder of somebody else's may have: three faces.

*rows*: a mask of which tokens are text, ``[B, P+N]``, and a past for each row, as optimum and
many others write. *tree*: an additive bias ``[B, 1, N, P+N]`` says who sees whom. *loop*: the
same, with the prompt's cache apart, as beamgen's own. Letters: B batch, N new tokens, P entries
in the cache, S of them the prompt's and R generated, V vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.decoder.contract import KEY_POSITIONS, Port, cache_names, loop_contract

ROWS, TREE, LOOP = "rows", "tree", "loop"

_INT, _FLOAT = ir.DataType.INT64, ir.DataType.FLOAT
_IDS = {"input_ids": Port(_INT, ("batch", "new"))}
_POSITIONS = {"position_ids": Port(_INT, ("batch", "new"))}
_MASK = {"attention_mask": Port(_INT, ("batch", "attended"))}
_BIAS = {"attention_bias": Port(_FLOAT, ("batch", 1, "new", "attended"))}
_KEYS = {KEY_POSITIONS: Port(_INT, ("batch", "attended"))}
_PAST = re.compile(r"(?:past_key_values|prompt)\.(\d+)\.(?:key|value)")


@dataclass(frozen=True)
class Face:
    """What a decoder takes and gives.

    Attributes:
        kind: ``rows``, ``tree`` or ``loop``.
        needed: inputs that it has.
        optional: inputs that it may have.
        outputs: that it has.
    """

    kind: str
    needed: Mapping[str, Port]
    optional: Mapping[str, Port]
    outputs: Mapping[str, Port]

    @property
    def inputs(self) -> dict[str, Port]:
        """All inputs that it may have."""
        return {**self.needed, **self.optional}


def kind_of(inputs: Mapping[str, ir.Value]) -> str:
    """Which face a decoder with such inputs has."""
    if any(name.startswith("prompt.") for name in inputs):
        return LOOP
    return TREE if "attention_bias" in inputs else ROWS


def face(kind: str, geometry: KVGeometry, vocab_size: int) -> Face:
    """A face for some cache and vocabulary."""
    if kind == LOOP:
        ports = loop_contract(geometry, vocab_size)
        unread = [name for name, port in ports.inputs.items() if not port.need_be_read]
        return Face(
            kind,
            {name: port for name, port in ports.inputs.items() if name not in unread},
            {**{name: ports.inputs[name] for name in unread}, **_KEYS},
            ports.outputs,
        )
    logits = {"logits": Port(_FLOAT, ("batch", "new", vocab_size))}
    past = _caches("past_key_values", geometry, "past")
    present = _caches("present", geometry, "attended")
    if kind == TREE:
        last_n = {"last_n": Port(_INT, ())}
        optional = {**_POSITIONS, **_KEYS, **last_n}
        return Face(kind, {**_IDS, **_BIAS, **past}, optional, {**logits, **present})
    optional = {
        **_POSITIONS,
        "cache_position": Port(_INT, ("new",)),
        "num_logits_to_keep": Port(_INT, ()),
    }
    return Face(kind, {**_IDS, **_MASK, **past}, optional, {**logits, **present})


def geometry_of(inputs: Mapping[str, ir.Value]) -> KVGeometry | None:
    """The shape of a decoder's cache, as far as its inputs tell it in numbers."""
    layers = {found[1] for name in inputs if (found := _PAST.fullmatch(name))}
    prefix = "prompt" if kind_of(inputs) == LOOP else "past_key_values"
    key, value = (_sizes(inputs.get(f"{prefix}.0.{part}")) for part in ("key", "value"))
    if not layers or key is None or value is None:
        return None
    (heads, key_width), (_, value_width) = key, value
    other = value_width if value_width != key_width else None
    return KVGeometry(len(layers), heads, key_width, other)


def _sizes(value: ir.Value | None) -> tuple[int, int] | None:
    """Hkv and D of a cache."""
    if value is None or value.shape is None or len(value.shape) != 4:
        return None
    heads, width = value.shape[1], value.shape[3]
    return (heads, width) if isinstance(heads, int) and isinstance(width, int) else None


def _caches(prefix: str, geometry: KVGeometry, length: str) -> dict[str, Port]:
    ports = [Port(_FLOAT, ("batch", geometry.num_kv_heads, length, d)) for d in geometry.widths]
    return dict(zip(cache_names(prefix, geometry), ports * geometry.num_layers, strict=True))


def shortened(names: Collection[str]) -> str:
    """Names in a message: of many, the first and how many more."""
    first = list(names)[:4]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
