"""Run one of our ONNX functions in ONNX Runtime, as a file would."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper

from beamgen.decoder import add_lora, recurrence
from beamgen.search.functions import contrib_cache, entry_positions, padding, states
from beamgen.search.functions.library import functions, loop_functions
from beamgen.settings.rules import RULES

#: The rules that have every function.
NEWEST = RULES["5.24"]


@functools.cache
def _function_protos() -> list[onnx.FunctionProto]:
    others = (contrib_cache, entry_positions, padding, states, add_lora, recurrence)
    every = [*loop_functions(NEWEST), *functions(*others)]
    return [ir.serde.serialize_function(function) for function in every]


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph, and the bodies and branches in it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def initializers(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All of a model's, wherever they stand."""
    for graph in graphs(model.graph):
        yield from graph.initializer


def call_of(
    model: onnx.ModelProto, function: str, output: str = ""
) -> tuple[onnx.GraphProto, onnx.NodeProto]:
    """The first call of one of our functions, and the graph it stands in."""
    return next(
        (graph, node)
        for graph in graphs(model.graph)
        for node in graph.node
        if node.op_type == function and output in node.output[0]
    )


def run(function: Any, *inputs: Any) -> list[np.ndarray]:
    """Call ``function`` on arrays; Python numbers and lists become int64 or float32."""
    arrays = [_array(value) for value in inputs]
    proto = function.to_function_proto()
    names = [f"in{i}" for i in range(len(arrays))]
    graph = helper.make_graph(
        [helper.make_node(function.name, names, list(proto.output), domain=proto.domain)],
        "call",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim
            )
            for name, array in zip(names, arrays, strict=True)
        ],
        [onnx.ValueInfoProto(name=name) for name in proto.output],
    )
    model = helper.make_model(
        graph,
        functions=_function_protos(),
        opset_imports=[helper.make_opsetid("", 23), helper.make_opsetid("beamgen", 1)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(zip(names, arrays, strict=True)))


def _array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    return array.astype(np.int64) if array.dtype.kind == "i" else array
