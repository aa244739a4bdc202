"""How a decoder that somebody else exported breaks the contract: everything, listed at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import onnx
import onnx_ir as ir

from beamgen.decoder.contract import Port
from beamgen.decoder.file.faces import Face, shortened
from beamgen.onnx_domain import DOMAIN

#: Whose operators ONNX Runtime has, besides ONNX's own.
_RUNTIME = {"com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc", "ai.onnx.ml"}
#: What exporters' other inputs tell of a file.
_OTHER_INPUTS = {
    "use_cache_branch": "the file is two decoders in one ('merged')",
    "encoder_hidden_states": "it is the decoder of an encoder-decoder",
    "encoder_attention_mask": "it is the decoder of an encoder-decoder",
    "inputs_embeds": "it takes embeddings, not tokens",
    "key_cache.0": "its cache has a fixed size",
    "past_0": "keys and values are in one tensor, as ONNX Runtime's operators have them",
}
#: Operators whose arithmetic does not follow the mask that they are given.
_OTHER_MASKS = {
    ("com.microsoft", op_type): "reads the padding before a prompt as text"
    for op_type in ("GroupQueryAttention", "SparseAttention", "PagedAttention")
}
_FLOAT_NAMES = {"FLOAT16": "float16", "BFLOAT16": "bfloat16", "FLOAT": "float32"}
_SUBGRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_OLDEST, _NEWEST = 11, 25


def violations(model: ir.Model, face: Face, folder: Path) -> list[str]:
    """Hold a decoder against a face.

    Args:
        model: as it was read.
        face: what it has to be.
        folder: where its file is.
    """
    graph = model.graph
    given = {v.name or "": v for v in graph.inputs if not v.is_initializer()}
    return [
        *_missing("input", given, face.needed),
        *_unknown_inputs(given, face),
        *_sizes("input", given, face.inputs),
        *_missing("output", _by_name(graph.outputs), face.outputs),
        *_sizes("output", _by_name(graph.outputs), face.outputs),
        *_opset(model),
        *_operators(model),
        *_external_data(graph, folder),
    ]


def _by_name(values: Iterable[ir.Value]) -> dict[str, ir.Value]:
    return {value.name or "": value for value in values}


def _missing(kind: str, found: Mapping[str, ir.Value], needed: Mapping[str, Port]) -> Iterator[str]:
    missing = [name for name in needed if name not in found]
    caches = [name for name in missing if "." in name]
    for name in missing:
        if name not in caches:
            yield f"no {kind} {name} ({_told(needed[name])})"
    if caches:
        yield f"no {kind} {shortened(caches)} ({_told(needed[caches[0]])})"


def _unknown_inputs(found: Mapping[str, ir.Value], face: Face) -> Iterator[str]:
    unknown = [name for name in found if name not in face.inputs]
    for name in unknown:
        if name in _OTHER_INPUTS:
            yield f"input {name}: {_OTHER_INPUTS[name]}"
    rest = [name for name in unknown if name not in _OTHER_INPUTS]
    if rest:
        yield f"nothing is known to feed to {shortened(rest)}"


def _sizes(kind: str, found: Mapping[str, ir.Value], ports: Mapping[str, Port]) -> Iterator[str]:
    """Types and shapes that differ; caches that differ alike are told of once."""
    alike: dict[str, list[str]] = {}
    for name, port in ports.items():
        value = found.get(name)
        for fault in [] if value is None else _faults(value, port):
            alike.setdefault(fault, []).append(name)
    for fault, names in alike.items():
        yield f"{kind} {shortened(names)} {fault}"


def _faults(value: ir.Value, port: Port) -> Iterator[str]:
    if value.dtype != port.dtype:
        yield f"is {_dtype(value.dtype)}, not {_dtype(port.dtype)}"
    if value.shape is None:
        return  # the file does not say, and a run will
    if len(value.shape) != len(port.shape):
        yield f"has {len(value.shape)} axes, not {len(port.shape)} ({_told(port)})"
        return
    for axis, (size, wanted) in enumerate(zip(value.shape, port.shape, strict=True)):
        if not isinstance(size, int) or size == wanted:
            continue
        if isinstance(wanted, int):
            yield f"has {size} on axis {axis}, not {wanted}"
        elif not _is_last_logits(axis, size, port):
            yield f"has a fixed size of {size} on axis {axis} ({wanted})"


def _is_last_logits(axis: int, size: int, port: Port) -> bool:
    """Whether logits are given of the last token alone, which will do."""
    return (axis, size) == (1, 1) and port.dtype == ir.DataType.FLOAT and len(port.shape) == 3


def _told(port: Port) -> str:
    sizes = ", ".join(str(size) for size in port.shape)
    return f"{_dtype(port.dtype)} [{sizes}]"


def _dtype(dtype: ir.DataType | None) -> str:
    name = "of no type" if dtype is None else dtype.name
    return _FLOAT_NAMES.get(name, name.lower())


def _opset(model: ir.Model) -> Iterator[str]:
    version = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if version is None:
        yield "it imports no opset of ai.onnx"
    elif not _OLDEST <= version <= _NEWEST:
        yield f"it is of opset {version}, not of {_OLDEST} to {_NEWEST}"


def _operators(model: ir.Model) -> Iterator[str]:
    """Operators that nobody here can run, or that cannot stand in a search."""
    own = {function.domain for function in model.functions.values()}
    defined = {(function.domain, function.name) for function in model.functions.values()}
    if DOMAIN in own:
        yield f"it defines functions of the domain {DOMAIN}, which is the search's"
    foreign: dict[str, set[str]] = {}
    masks = set()
    for node in model.graph:
        kind = (node.domain, node.op_type)
        if kind in _OTHER_MASKS:
            masks.add(kind)
        if kind not in defined and not _is_known(node):
            foreign.setdefault(node.domain or "ai.onnx", set()).add(node.op_type)
    yield from control_flow(model.graph)
    for domain, op_type in sorted(masks):
        yield f"{op_type} {_OTHER_MASKS[domain, op_type]}"
    for domain, names in sorted(foreign.items()):
        yield f"operators {', '.join(sorted(names))} of the domain {domain} are not known"


def control_flow(graph: ir.Graph) -> Iterator[str]:
    """Nodes with graphs of their own."""
    branching = {
        node.op_type
        for node in graph
        if any(attribute.type in _SUBGRAPHS for attribute in node.attributes.values())
    }
    if branching:
        yield f"control flow ({', '.join(sorted(branching))}) cannot stand in a search"


def _is_known(node: ir.Node) -> bool:
    if node.domain in ("", "ai.onnx"):
        return bool(onnx.defs.has(node.op_type))
    return node.domain in _RUNTIME


def external_files(graph: ir.Graph) -> dict[str, int]:
    """The files that weights stand in, and how many bytes each has to have."""
    needed: dict[str, int] = {}
    for value in graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            end = (tensor.offset or 0) + (tensor.length or tensor.nbytes)
            name = str(tensor.location)
            needed[name] = max(end, needed.get(name, 0))
    return needed


def _external_data(graph: ir.Graph, folder: Path) -> Iterator[str]:
    """Files that are not there, or are too short."""
    for name, size in external_files(graph).items():
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            yield f"external data {name} lies outside of its folder"
        elif not path.is_file():
            yield f"its external data {name} is missing"
        elif path.stat().st_size < size:
            yield f"its external data {name} has {path.stat().st_size:,} bytes, not {size:,}"
