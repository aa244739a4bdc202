"""The decoder contract: names, dtypes and axes of one decoder step.

One traced decoder serves the prompt pass (N = S), every later step (N = K) and
any attention mask. Letters: B batch, K beams, S prompt length, N new positions,
R generated entries in the cache, n positions whose logits are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.errors import AdapterError

Axes = dict[int, str]

_SUBGRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_CACHES = {"prompt": "prompt_len", "past": "past_len"}


def cache_names(prefix: str, geometry: KVGeometry) -> list[str]:
    """``prefix.0.key, prefix.0.value, prefix.1.key ...``, 2L names."""
    return [
        f"{prefix}.{layer}.{part}"
        for layer in range(geometry.num_layers)
        for part in ("key", "value")
    ]


def input_axes(geometry: KVGeometry) -> dict[str, Axes]:
    """Input names in order, each with its dynamic axes."""
    axes: dict[str, Axes] = {
        "input_ids": {0: "batch", 1: "new"},
        "position_ids": {0: "batch", 1: "new"},
        "attention_bias": {0: "batch", 2: "new", 3: "attended"},
        "last_n": {},
    }
    for prefix, length in _CACHES.items():
        axes |= {name: {0: "batch", 2: length} for name in cache_names(prefix, geometry)}
    return axes


def output_axes(geometry: KVGeometry) -> dict[str, Axes]:
    """Output names in order, each with its dynamic axes."""
    axes: dict[str, Axes] = {"logits": {0: "batch", 1: "last"}}
    axes |= {name: {0: "batch", 2: "present_len"} for name in cache_names("present", geometry)}
    return axes


def verify(model: ir.Model, geometry: KVGeometry, vocab_size: int) -> None:
    """Hold an exported decoder against the contract.

    Raises:
        AdapterError: one error that lists every violation.
    """
    kv = (geometry.num_kv_heads, geometry.head_dim)
    static: dict[str, dict[int, int]] = {"attention_bias": {1: 1}, "logits": {2: vocab_size}}
    for prefix in ("prompt", "past", "present"):
        static |= {name: {1: kv[0], 3: kv[1]} for name in cache_names(prefix, geometry)}
    graph = model.graph
    violations = [
        *_violations("input", graph.inputs, input_axes(geometry), static),
        *_violations("output", graph.outputs, output_axes(geometry), static),
    ]
    branching = {n.op_type for n in graph for a in n.attributes.values() if a.type in _SUBGRAPHS}
    if branching:
        violations.append(f"control flow ({', '.join(sorted(branching))}) cannot stand in a loop")
    if violations:
        raise AdapterError(
            "the exported decoder breaks the contract: " + "; ".join(violations),
            "correct the adapter's kv_geometry, prepare or forward "
            "(beamgen.testing.check_adapter repeats this test)",
        )


def _violations(
    kind: str,
    found: Sequence[ir.Value],
    expected: dict[str, Axes],
    static: dict[str, dict[int, int]],
) -> list[str]:
    out = []
    names = [value.name for value in found]
    if names != list(expected):
        missing = [name for name in expected if name not in names]
        extra = [name for name in names if name not in expected]
        out.append(
            f"{kind}s missing {missing}, unexpected {extra}"
            if missing or extra
            else f"{kind}s in another order: {names}"
        )
    for value in found:
        name = value.name or ""
        if name not in expected:
            continue
        ids = kind == "input" and name in ("input_ids", "position_ids", "last_n")
        dtype = ir.DataType.INT64 if ids else ir.DataType.FLOAT
        if value.dtype != dtype:
            out.append(f"{kind} {name} is {value.dtype}, not {dtype}")
        rank = len(expected[name]) + len(static.get(name, {}))
        if value.shape is None or len(value.shape) != rank:
            out.append(f"{kind} {name} has shape {value.shape}, not rank {rank}")
            continue
        for axis, size in static.get(name, {}).items():
            if value.shape[axis] != size:
                out.append(f"{kind} {name} axis {axis} is {value.shape[axis]}, not {size}")
        for axis in expected[name]:
            if isinstance(value.shape[axis], int):
                out.append(f"{kind} {name} axis {axis} is fixed at {value.shape[axis]}")
    return out
