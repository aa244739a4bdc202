"""What a model is made of: its functions, its operators, and the bytes of its weights."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.inspect.description import Function
from beamgen.inspect.ports import dtype_name

if TYPE_CHECKING:
    import onnx


def functions_of(model: onnx.ModelProto) -> list[Function]:
    """The model-local ones."""
    return [
        Function(
            f"{function.domain}::{function.name}",
            sum(1 for _ in _nodes(function.node)),
            function.doc_string.strip().partition("\n")[0],
        )
        for function in model.functions
    ]


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _nodes(graph.node)


def operators_of(model: onnx.ModelProto) -> dict[str, dict[str, int]]:
    """Nodes by domain and operator; calls of model-local functions count under their own domain."""
    found: dict[str, Counter[str]] = {}
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    for node in (node for body in bodies for node in _nodes(body)):
        found.setdefault(node.domain or "ai.onnx", Counter())[node.op_type] += 1
    return {domain: dict(found[domain].most_common()) for domain in sorted(found)}


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """What is stored: initializers, dense and sparse, of all graphs, and constants."""
    yield from _initializers(model.graph)
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    for node in (node for body in bodies for node in _nodes(body)):
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for graph in [attribute.g, *attribute.graphs]:
                yield from _initializers(graph)


def _initializers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def weights_of(model: onnx.ModelProto) -> dict[str, int]:
    """Bytes by dtype; four-bit numbers are packed in pairs."""
    import onnx

    sizes: Counter[str] = Counter()
    for tensor in _tensors(model):
        name, count = dtype_name(tensor.data_type), max(math.prod(tensor.dims), 0)
        if name.startswith("unknown") or tensor.data_type == onnx.TensorProto.UNDEFINED:
            sizes[name] += len(tensor.raw_data)
        elif tensor.data_type == onnx.TensorProto.STRING:
            sizes[name] += sum(map(len, tensor.string_data))
        else:
            bits = 4 if name.endswith("int4") else _bits(tensor.data_type)
            sizes[name] += -(-count * bits // 8)
    return dict(sizes.most_common())


def _bits(number: int) -> int:
    import onnx

    return int(onnx.helper.tensor_dtype_to_np_dtype(number).itemsize) * 8


def external_data_of(model: onnx.ModelProto, folder: Path) -> dict[str, int | None]:
    """Bytes of the files beside it, None where one is missing."""
    names = {
        entry.value
        for tensor in _tensors(model)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    found: dict[str, int | None] = {}
    for name in sorted(names):
        found[name] = None
        with contextlib.suppress(OSError, ValueError):  # missing, or no name that a file can have
            found[name] = (folder / name).stat().st_size
    return found
