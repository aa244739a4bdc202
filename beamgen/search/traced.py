"""A loop file that also gives what each step decided.

The file under test is not rebuilt. Its own loops carry what each step decided, behind
what the steps before it did, and its graph gives that as further outputs, which
``beamgen.runtime.trace`` reads.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from beamgen.tape import Tape

#: Values of ``beamgen.search.step`` from which a search can be retold, ``[B, n]`` each.
TRACED = {
    "top_scores": ir.DataType.FLOAT,
    "top_tokens": ir.DataType.INT64,
    "top_beams": ir.DataType.INT64,
    "running_index": ir.DataType.INT64,
    "running_scores": ir.DataType.FLOAT,
    "finished_index": ir.DataType.INT64,
    "finished_scores": ir.DataType.FLOAT,
    "is_sent_finished": ir.DataType.BOOL,
    "unsatisfied": ir.DataType.BOOL,
}


def with_trace_outputs(model: ir.Model) -> ir.Model:
    """Add the traced values as outputs ``trace/NAME`` ``[t, B, n]``; changes the model."""
    graph = model.graph
    chunks = _loop_in(graph)
    chunk = chunks.attributes["body"].as_graph()
    steps = _loop_in(chunk)
    step = steps.attributes["body"].as_graph()
    before = [_told(f"trace/steps/{name}", dtype) for name, dtype in TRACED.items()]
    after = [_appended(step, told, name) for told, name in zip(before, TRACED, strict=True)]
    step.inputs.extend(before)
    step.outputs.extend(after)
    carried = [_told(f"trace/chunks/{name}", dtype) for name, dtype in TRACED.items()]
    chunk.inputs.extend(carried)
    chunk.outputs.extend(_with_carried(chunk, steps, carried, "trace/chunk"))
    nothing = [_nothing(graph, name, dtype) for name, dtype in TRACED.items()]
    found = _with_carried(graph, chunks, nothing, "trace/all")
    graph.outputs.extend(_by_step(graph, found))
    return model


def _loop_in(graph: ir.Graph) -> ir.Node:
    return next(node for node in graph if node.op_type == "Loop")


def _told(name: str, dtype: ir.DataType) -> ir.Value:
    """The values of some steps, one behind the other."""
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([None]))


def _nothing(graph: ir.Graph, name: str, dtype: ir.DataType) -> ir.Value:
    tensor = ir.tensor(np.empty(0, dtype.numpy()), name=f"trace/nothing/{name}")
    value = ir.Value(
        name=tensor.name, type=ir.TensorType(dtype), shape=ir.Shape([0]), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def _appended(step: ir.Graph, told: ir.Value, name: str) -> ir.Value:
    """What was told before, and this step's value."""
    value = next(v for node in step for v in node.outputs if v.name == f"step/{name}")
    tape = Tape(f"trace/{name}")
    flat = tape.standard("Reshape", value, tape.ints("flat", [-1]), output="values")
    longer = tape.standard("Concat", told, flat, output="longer", axis=0)
    longer.type, longer.shape = told.type, told.shape
    step.extend(tape.nodes)
    return longer


def _with_carried(
    graph: ir.Graph, loop: ir.Node, initial: list[ir.Value], prefix: str
) -> list[ir.Value]:
    """Let a Loop carry more, which its body already does; returns what it gives of that."""
    results = [_told(f"{prefix}/{name}", dtype) for name, dtype in TRACED.items()]
    longer = ir.Node(
        "",
        "Loop",
        [*loop.inputs, *initial],
        list(loop.attributes.values()),
        outputs=[*(_like(value) for value in loop.outputs), *results],
        name=loop.name,
    )
    for old, new in zip(loop.outputs, longer.outputs, strict=False):
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.insert_after(loop, longer)
    graph.remove(loop, safe=True)
    return results


def _like(value: ir.Value) -> ir.Value:
    return ir.Value(name=value.name, type=value.type, shape=value.shape)


def _by_step(graph: ir.Graph, found: list[ir.Value]) -> list[ir.Value]:
    """``[t * B * n]`` -> ``[t, B, n]``, as all of a step have the batch for their first axis."""
    (sequences,) = (value for value in _loop_in(graph).outputs if _is_running_tokens(value))
    tape = Tape("trace")
    steps = tape.standard("Shape", sequences, output="steps", start=2)
    batch = tape.standard("Shape", sequences, output="batch", end=1)
    shape = tape.standard("Concat", steps, batch, tape.ints("rest", [-1]), output="shape", axis=0)
    told = []
    for value, (name, dtype) in zip(found, TRACED.items(), strict=True):
        told.append(tape.standard("Reshape", value, shape, output=name))
        told[-1].type, told[-1].shape = ir.TensorType(dtype), ir.Shape([None] * 3)
    graph.extend(tape.nodes)
    return told


def _is_running_tokens(value: ir.Value) -> bool:
    return (value.name or "").endswith("/running_tokens")
