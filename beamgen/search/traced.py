"""A loop file that also gives what each step decided.

The file under test is not rebuilt. Its own loops carry what each step decided, behind
what the steps before it did, and its graph gives that as further outputs, which
``beamgen.runtime.trace`` reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from beamgen.tape import Tape, stored

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
    before = _of_some_steps("trace/steps")
    # files of 0.1 read the prompt in one piece, and decide in every step
    decides = next((v for n in chunk for v in n.outputs if v.name == "chunk/decides"), None)
    after = [
        _appended(step, values, name, decides) for values, name in zip(before, TRACED, strict=True)
    ]
    step.inputs.extend(before)
    step.outputs.extend(after)
    carried = _of_some_steps("trace/chunks")
    chunk.inputs.extend(carried)
    chunk.outputs.extend(_with_carried(chunk, steps, carried, "trace/chunk"))
    nothing = [_nothing(graph, name, dtype) for name, dtype in TRACED.items()]
    found = _with_carried(graph, chunks, nothing, "trace/all")
    graph.outputs.extend(_by_step(graph, found))
    return model


def _loop_in(graph: ir.Graph) -> ir.Node:
    return next(node for node in graph if node.op_type == "Loop")


def _of_some_steps(prefix: str) -> list[ir.Value]:
    """What some steps decided, one behind the other: a value for each that is traced."""
    return [
        ir.Value(name=f"{prefix}/{name}", type=ir.TensorType(dtype), shape=ir.Shape([None]))
        for name, dtype in TRACED.items()
    ]


def _nothing(graph: ir.Graph, name: str, dtype: ir.DataType) -> ir.Value:
    """What no step decided, before the first of them."""
    return stored(graph, ir.tensor(np.empty(0, dtype.numpy()), name=f"trace/nothing/{name}"))


def _appended(step: ir.Graph, before: ir.Value, name: str, decides: ir.Value | None) -> ir.Value:
    """What the steps before decided, and behind it what this one does."""
    value = next(v for node in step for v in node.outputs if v.name == f"step/{name}")
    tape = Tape(f"trace/{name}")
    decided = tape.standard("Reshape", value, tape.ints("flat", [-1]), output="values")
    if decides is not None:  # a piece of the prompt before its last decides nothing
        none, all_of_it = tape.ints("none", [0]), tape.ints("all", [2**63 - 1])
        end = tape.standard("Where", decides, all_of_it, none, output="end")
        decided = tape.standard("Slice", decided, none, end, output="decided")
    longer = tape.standard("Concat", before, decided, output="longer", axis=0)
    longer.type, longer.shape = before.type, before.shape
    tape.append_to(step)
    return longer


def _with_carried(
    graph: ir.Graph, loop: ir.Node, initial: Sequence[ir.Value], prefix: str
) -> list[ir.Value]:
    """Let a Loop carry more, which its body already does; returns what it gives of that."""
    results = _of_some_steps(prefix)
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


def _by_step(graph: ir.Graph, found: Sequence[ir.Value]) -> list[ir.Value]:
    """``[t * B * n]`` -> ``[t, B, n]``, as all of a step have the batch for their first axis."""
    (sequences,) = (value for value in _loop_in(graph).outputs if _is_running_tokens(value))
    tape = Tape("trace")
    steps = tape.standard("Shape", sequences, output="steps", start=2)
    batch = tape.standard("Shape", sequences, output="batch", end=1)
    shape = tape.standard("Concat", steps, batch, tape.ints("rest", [-1]), output="shape", axis=0)
    outputs = []
    for value, (name, dtype) in zip(found, TRACED.items(), strict=True):
        output = tape.standard("Reshape", value, shape, output=name)
        output.type, output.shape = ir.TensorType(dtype), ir.Shape([None] * 3)
        outputs.append(output)
    tape.append_to(graph)
    return outputs


def _is_running_tokens(value: ir.Value) -> bool:
    return (value.name or "").endswith("/running_tokens")
