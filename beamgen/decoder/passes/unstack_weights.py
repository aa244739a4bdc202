"""Store the matrices of a stack by themselves: a mixture of experts may hold one for each."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from beamgen.tape import stored


def unstack_weights(model: ir.Model) -> ir.Model:
    """Rewrite ``Gather(stack, 3)``; returns the same model, changed.

    A constant ``[E, n, k]`` of which single matrices are read becomes E constants ``[n, k]``,
    called ``stack[0]`` and so on: ONNX Runtime would copy a matrix at every step, and what
    rounds weights, or multiplies with them, knows matrices.
    """
    for stack in list(model.graph.initializers.values()):
        readers = [node for node, _ in stack.uses()]
        if _is_stack(stack) and readers and all(_reads_one(node, stack) for node in readers):
            for node in readers:
                node.outputs[0].replace_all_uses_with(_matrix(model.graph, stack, _place(node)))
                model.graph.remove(node, safe=True)
            del model.graph.initializers[stack.name or ""]
    return model


def _is_stack(value: ir.Value) -> bool:
    return value.const_value is not None and len(value.const_value.shape) == 3


def _reads_one(node: ir.Node, stack: ir.Value) -> bool:
    """Whether a node takes one matrix of a stack, which a constant names."""
    if node.op_type != "Gather" or node.domain != "" or node.inputs[0] is not stack:
        return False
    index = node.inputs[1]
    constant = None if index is None else index.const_value
    alone = constant is not None and len(constant.shape) == 0
    return alone and not node.attributes.get_int("axis", 0)


def _place(node: ir.Node) -> int:
    index = node.inputs[1]
    assert index is not None, "checked by _reads_one"
    assert index.const_value is not None, "checked by _reads_one"
    return int(index.const_value.numpy())


def _matrix(graph: ir.Graph, stack: ir.Value, place: int) -> ir.Value:
    """An initializer of one matrix, computed when it is written and not kept."""
    tensor = stack.const_value
    assert tensor is not None, "checked by _is_stack"
    name = f"{stack.name}[{place % tensor.shape.numpy()[0]}]"
    matrix = ir.LazyTensor(
        lambda: ir.tensor(np.ascontiguousarray(tensor.numpy()[place]), name=name),
        dtype=tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()[1:]),
        name=name,
    )
    return stored(graph, matrix)
