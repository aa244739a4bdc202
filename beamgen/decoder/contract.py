"""The decoder contracts: names, dtypes and axes of one decoder step.

One architecture has three faces. The loop backend's serves the prompt pass (N = S),
every later step (N = K) and any attention mask, with one cache per row. The contrib
backend's has the cache in the layout of ``com.microsoft::BeamSearch``. The third is a
step alone, with the usual cache, for callers that search themselves. Letters: B batch,
K beams, S prompt length, N new positions, R generated entries in the cache, P entries
in the operator's cache or the usual one, n positions whose logits are wanted, G runs
that the new tokens are, each behind a state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.errors import AdapterError
from beamgen.lora.slots import Slot
from beamgen.seq2seq_adapter import Source

_INT, _FLOAT = ir.DataType.INT64, ir.DataType.FLOAT
#: The input of decoders whose layers have windows of their own, or distances.
KEY_POSITIONS = "key_positions"
#: The input of decoders that keep states: which new tokens are text.
TOKEN_MASK = "token_mask"
#: Inputs of decoders that take beams as rows: the places of the entries that are attended to,
#: and whether the new tokens follow each other, as those of a prompt.
KEY_SLOTS, IS_PROMPT = "key_slots", "is_prompt"
_SUBGRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


@dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
        dtype: of its elements.
        shape: a size for each axis: a number, or the name of a dynamic one.
        need_be_read: False of an input that not every architecture has a use for.
    """

    dtype: ir.DataType
    shape: tuple[int | str, ...]
    need_be_read: bool = True

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """The dynamic axes, as the tracer wants them."""
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}


@dataclass(frozen=True)
class Contract:
    """Inputs and outputs of a decoder step, in order."""

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]


def cache_names(prefix: str, geometry: KVGeometry) -> list[str]:
    """The 2L names of a cache of keys and values: ``prefix.0.key, prefix.0.value ...``."""
    return [
        f"{prefix}.{layer}.{part}"
        for layer in range(geometry.num_layers)
        for part in ("key", "value")
    ]


def state_names(prefix: str, geometry: KVGeometry) -> list[str]:
    """The names of the states: ``prefix.0, prefix.1 ...``."""
    return [f"{prefix}.{index}" for index in range(len(geometry.states))]


def contrib_cache_names(prefix: str, geometry: KVGeometry) -> list[str]:
    """The L names of a cache that has keys and values in one: ``prefix_0, prefix_1 ...``."""
    return [f"{prefix}_{layer}" for layer in range(geometry.num_layers)]


def slot_ports(slot: Slot, rows: int | str) -> dict[str, Port]:
    """The inputs of a slot, A ``[rows, K, r]`` and B ``[rows, r, N]``, whose axes are its own."""
    own_rows = f"{rows}_{slot.module}" if isinstance(rows, str) and not slot.shared else 1
    rank, (a, b) = f"rank_{slot.module}", slot.inputs
    return {
        a: Port(_FLOAT, (own_rows, slot.in_features, rank)),
        b: Port(_FLOAT, (own_rows, rank, slot.out_features)),
    }


def with_key_positions(contract: Contract) -> Contract:
    """A contract whose decoder asks for the positions of the entries that it attends to."""
    port = Port(_INT, ("batch", "attended"))
    return replace(contract, inputs={**contract.inputs, KEY_POSITIONS: port})


def with_rows(contract: Contract) -> Contract:
    """A contract whose decoder makes a row of each beam."""
    ports = {
        KEY_SLOTS: Port(_INT, ("batch", "attended")),
        IS_PROMPT: Port(ir.DataType.BOOL, ()),
    }
    return replace(contract, inputs={**contract.inputs, **ports})


def loop_contract(geometry: KVGeometry, vocab_size: int, slots: Sequence[Slot] = ()) -> Contract:
    """The decoder of the loop backend, with the prompt's cache apart from the generated one.

    The new tokens may be a piece of a longer prompt. ``seq_len`` is what HF computes from the
    positions of the whole: the largest one and 1. A slot takes one LoRA for all rows, or one
    for each. Where there are states, the N tokens are G runs of N / G, one behind each state:
    the prompt is one run, and of beams each token is one.
    """
    mask = {TOKEN_MASK: Port(_INT, ("batch", "new"))} if geometry.states else {}
    return Contract(
        inputs={
            "input_ids": Port(_INT, ("batch", "new")),
            "position_ids": Port(_INT, ("batch", "new"), need_be_read=False),
            "attention_bias": Port(_FLOAT, ("batch", 1, "new", "attended")),
            "last_n": Port(_INT, ()),
            "seq_len": Port(_INT, (), need_be_read=False),
            **_caches(geometry, "prompt", "prompt_len"),
            **_caches(geometry, "past", "past_len"),
            **mask,
            **_states(geometry, "past_state"),
            **_slots(slots, "rows"),
        },
        outputs={
            "logits": Port(_FLOAT, ("batch", "last", vocab_size)),
            **_caches(geometry, "present", "present_len"),
            **_states(geometry, "present_state"),
        },
    )


def source_name(name: str) -> str:
    """What a step calls a source, whose name may be that of one of the decoder's inputs."""
    return f"source.{name}"


def with_sources(contract: Contract, sources: Sequence[Source]) -> Contract:
    """A contract whose decoder stands behind an encoder: what that reads comes first."""
    ports = {
        source_name(source.name): Port(_INT if source.integer else _FLOAT, source.axes)
        for source in sources
    }
    return replace(contract, inputs={**ports, **contract.inputs})


def contrib_contract(geometry: KVGeometry, vocab_size: int, slots: Sequence[Slot] = ()) -> Contract:
    """The decoder of the contrib backend, whose cache holds keys and values in one tensor.

    The cache may have several rows for each row of new tokens: in the prompt pass of BeamSearch
    the K beams of a row are still one. ``row_of_copy`` says which row each is of,
    ``key_rows`` and ``value_rows`` where attention finds a row's keys and values in
    the cache reshaped to ``flat_shape``, ``[2 * cache_rows, Hkv, P+N, D]``. A slot takes
    one LoRA for all rows.
    """

    def caches(prefix: str, length: str) -> dict[str, Port]:
        shape = (2, "cache_rows", geometry.num_kv_heads, length, max(geometry.widths))
        return dict.fromkeys(contrib_cache_names(prefix, geometry), Port(_FLOAT, shape))

    return Contract(
        inputs={
            "input_ids": Port(_INT, ("batch", "new")),
            "position_ids": Port(_INT, ("batch", "new"), need_be_read=False),
            "attention_bias": Port(_FLOAT, ("batch", 1, "new", "attended")),
            "row_of_copy": Port(_INT, ("cache_rows",)),
            "key_rows": Port(_INT, ("batch",)),
            "value_rows": Port(_INT, ("batch",)),
            "flat_shape": Port(_INT, (4,), need_be_read=False),
            **caches("past", "past_len"),
            **_slots(slots, 1),
        },
        outputs={
            "logits": Port(_FLOAT, ("batch", 1, vocab_size)),
            **caches("present", "present_len"),
        },
    )


def step_contract(geometry: KVGeometry, vocab_size: int, slots: Sequence[Slot] = ()) -> Contract:
    """The decoder of callers that search themselves: one cache per row, named as HF names it.

    ``last`` says of which new token each row's logits are wanted. A slot takes one
    LoRA for all rows.
    """
    return Contract(
        inputs={
            "input_ids": Port(_INT, ("batch", "new")),
            "position_ids": Port(_INT, ("batch", "new"), need_be_read=False),
            "attention_bias": Port(_FLOAT, ("batch", 1, "new", "attended")),
            "last": Port(_INT, ("batch",)),
            **_caches(geometry, "past_key_values", "past_len"),
            **_slots(slots, 1),
        },
        outputs={
            "logits": Port(_FLOAT, ("batch", 1, vocab_size)),
            **_caches(geometry, "present", "attended"),
        },
    )


def _caches(geometry: KVGeometry, prefix: str, length: str) -> dict[str, Port]:
    """The ports of a cache that has keys and values apart, the heads before the entries."""
    ports = [Port(_FLOAT, ("batch", geometry.num_kv_heads, length, d)) for d in geometry.widths]
    names = cache_names(prefix, geometry)
    return dict(zip(names, ports * geometry.num_layers, strict=True))


def _states(geometry: KVGeometry, prefix: str) -> dict[str, Port]:
    """The ports of what each run carries besides the cache."""
    ports = [Port(_FLOAT, ("batch", "runs", *shape)) for shape in geometry.states]
    return dict(zip(state_names(prefix, geometry), ports, strict=True))


def _slots(slots: Sequence[Slot], rows: int | str) -> dict[str, Port]:
    return {name: port for slot in slots for name, port in slot_ports(slot, rows).items()}


def verify_sizes(shapes: Sequence[tuple[int, ...]], contract: Contract) -> None:
    """Hold what a run of a step gave against the numbers in a contract.

    Raises:
        AdapterError: one error that lists every violation.
    """
    violations = [
        f"output {name} has shape {list(shape)}, not {list(port.shape)}"
        for (name, port), shape in zip(contract.outputs.items(), shapes, strict=True)
        if len(shape) != len(port.shape)
        or any(isinstance(b, int) and a != b for a, b in zip(shape, port.shape, strict=True))
    ]
    if violations:
        raise _broken(violations)


def complete(model: ir.Model, contract: Contract) -> None:
    """Tell a traced decoder what the tracer lost: unread inputs, and sizes of its outputs.

    ``verify_sizes`` has seen these sizes in a run of the step.
    """
    inputs = model.graph.inputs
    there = {value.name for value in inputs}
    for index, (name, port) in enumerate(contract.inputs.items()):
        if not port.need_be_read and name not in there:
            kind, shape = ir.TensorType(port.dtype), ir.Shape(port.shape)
            inputs.insert(index, ir.Value(name=name, type=kind, shape=shape))
    for value in model.graph.outputs:
        found, wanted = value.shape, contract.outputs.get(value.name or "")
        if wanted is None or found is None or len(found) != len(wanted.shape):
            continue
        value.shape = ir.Shape(
            [
                known if isinstance(known, int) and not isinstance(size, int) else size
                for size, known in zip(found, wanted.shape, strict=True)
            ]
        )


def verify(model: ir.Model, contract: Contract) -> None:
    """Hold an exported decoder against a contract.

    Raises:
        AdapterError: one error that lists every violation.
    """
    graph = model.graph
    violations = [
        *_violations("input", graph.inputs, contract.inputs),
        *_violations("output", graph.outputs, contract.outputs),
    ]
    branching = {n.op_type for n in graph for a in n.attributes.values() if a.type in _SUBGRAPHS}
    if branching:
        violations.append(f"control flow ({', '.join(sorted(branching))}) cannot stand in a loop")
    if violations:
        raise _broken(violations)


def _broken(violations: Sequence[str]) -> AdapterError:
    return AdapterError(
        "the exported decoder breaks the contract: " + "; ".join(violations),
        "correct the adapter's kv_geometry, prepare or forward "
        "(beamgen.testing.check_adapter repeats this test)",
    )


def _violations(kind: str, found: Sequence[ir.Value], expected: Mapping[str, Port]) -> list[str]:
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
        port = expected.get(value.name or "")
        if port is None:
            continue
        if value.dtype != port.dtype:
            out.append(f"{kind} {value.name} is {value.dtype}, not {port.dtype}")
        if value.shape is None or len(value.shape) != len(port.shape):
            out.append(f"{kind} {value.name} has shape {value.shape}, not rank {len(port.shape)}")
            continue
        for axis, (size, wanted) in enumerate(zip(value.shape, port.shape, strict=True)):
            if isinstance(wanted, int) and size != wanted:
                out.append(f"{kind} {value.name} axis {axis} is {size}, not {wanted}")
            if isinstance(wanted, str) and isinstance(size, int):
                out.append(f"{kind} {value.name} axis {axis} is fixed at {size}")
    return out
