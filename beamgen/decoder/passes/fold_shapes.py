"""Clear the fog of shape arithmetic that tracing leaves around every Reshape.

The tracer asks each tensor for its sizes and puts them together again for the
next Reshape: Shape, Gather, Unsqueeze, Concat, per layer. This pass follows the
sizes as symbols and writes down what it learns: a Reshape that repeats its
input's leading axes gets the constant ``[0, 0, heads, head_dim]``, and
arithmetic that comes out as plain numbers becomes a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import shape_inference

from beamgen.onnx_domain import DOMAIN
from beamgen.tape import stored

#: A size known as a number, or as the name of a dynamic axis.
Dim = int | str
_Values = dict[ir.Value, list[Dim]]


def fold_shapes(model: ir.Model) -> ir.Model:
    """Follow sizes through the graph in one walk; returns the same model, changed.

    Sound by construction: a size is only reused where it is the same symbol.
    Whatever cannot be followed is left as it was.
    """
    graph = model.graph
    values: _Values = {}
    for value in graph.initializers.values():
        _learn_constant(value, values)
    for node in list(graph):
        _infer_shapes(node, model)
        followed = _FOLLOW.get(node.op_type) if node.domain == "" else None
        if followed is not None:
            result = followed(node, values)
            if result is not None:
                values[node.outputs[0]] = result
                if all(isinstance(dim, int) for dim in result) and node.op_type != "Constant":
                    _replace_by_constant(graph, node, result, values)
        if node.op_type == "Reshape" and node.domain == "":
            _fold_reshape(graph, node, values)
    return model


def _learn_constant(value: ir.Value, values: _Values) -> None:
    """Of a shape, which has one axis, or of a size, which has none."""
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.dtype != ir.DataType.INT64 or len(tensor.shape) > 1:
        return
    if tensor.size <= 16:
        values[value] = [int(x) for x in np.atleast_1d(tensor.numpy())]


def _constant(node: ir.Node, values: _Values) -> list[Dim] | None:
    _learn_constant(node.outputs[0], values)
    return values.get(node.outputs[0])


def _shape(node: ir.Node, values: _Values) -> list[Dim] | None:
    dims = _dims(node.inputs[0])
    if dims is None:
        return None
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", len(dims))
    return dims[start:end]


def _gather(node: ir.Node, values: _Values) -> list[Dim] | None:
    data, index = _known(node, values, 0), _known(node, values, 1)
    if data is None or index is None:
        return None
    return [data[i] for i in index if isinstance(i, int)]


def _concat(node: ir.Node, values: _Values) -> list[Dim] | None:
    parts = [_known(node, values, i) for i in range(len(node.inputs))]
    if any(part is None for part in parts):
        return None
    return [dim for part in parts if part is not None for dim in part]


def _slice(node: ir.Node, values: _Values) -> list[Dim] | None:
    data = _known(node, values, 0)
    bounds = [_number(node, values, i) for i in (1, 2, 4) if i < len(node.inputs)]
    if data is None or None in bounds:
        return None
    return data[slice(*bounds)]


def _same(node: ir.Node, values: _Values) -> list[Dim] | None:
    return _known(node, values, 0)


def _arithmetic(
    operate: Callable[[int, int], int],
) -> Callable[[ir.Node, _Values], list[Dim] | None]:
    def follow(node: ir.Node, values: _Values) -> list[Dim] | None:
        left, right = _known(node, values, 0), _known(node, values, 1)
        if left is None or right is None or len(left) != len(right):
            return None
        pairs = [(a, b) for a, b in zip(left, right, strict=True)]
        if not all(isinstance(a, int) and isinstance(b, int) for a, b in pairs):
            return None
        return [operate(a, b) for a, b in pairs]  # type: ignore[arg-type] # checked above

    return follow


_FOLLOW: dict[str, Callable[[ir.Node, _Values], list[Dim] | None]] = {
    "Constant": _constant,
    "Shape": _shape,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Unsqueeze": _same,
    "Squeeze": _same,
    "Cast": _same,
    "Identity": _same,
    "Add": _arithmetic(lambda a, b: a + b),
    "Sub": _arithmetic(lambda a, b: a - b),
    "Mul": _arithmetic(lambda a, b: a * b),
    # ONNX truncates; sizes are not negative.
    "Div": _arithmetic(lambda a, b: a // b),
}


def _known(node: ir.Node, values: _Values, index: int) -> list[Dim] | None:
    value = node.inputs[index]
    return values.get(value) if value is not None else None


def _number(node: ir.Node, values: _Values, index: int) -> int | None:
    known = _known(node, values, index)
    return known[0] if known and isinstance(known[0], int) else None


def _replace_by_constant(
    graph: ir.Graph, node: ir.Node, result: Sequence[Dim], values: _Values
) -> None:
    output = node.outputs[0]
    if output.dtype != ir.DataType.INT64 or output.shape is None:
        return
    array = np.array(result, np.int64).reshape([] if len(output.shape) == 0 else [-1])
    constant = stored(graph, ir.tensor(array, name=f"{output.name}/folded"))
    values[constant] = list(result)
    output.replace_all_uses_with(constant)


def _fold_reshape(graph: ir.Graph, node: ir.Node, values: _Values) -> None:
    """Give a Reshape a constant target where its sizes allow it."""
    source, target = _dims(node.inputs[0]), _known(node, values, 1)
    if source is None or target is None:
        return
    target = [source[i] if dim == 0 else dim for i, dim in enumerate(target)]
    if -1 in target:
        rest = _quotient(source, [dim for dim in target if dim != -1])
        if rest is not None:
            target[target.index(-1)] = rest
    spec: list[int] = []
    for axis, dim in enumerate(target):
        if axis < len(source) and dim == source[axis] and not isinstance(dim, int):
            spec.append(0)
        else:
            spec.append(dim if isinstance(dim, int) else -1)
    if spec.count(-1) > 1:
        return
    node.outputs[0].shape = ir.Shape([None if dim == -1 else dim for dim in target])
    if target == source:
        node.outputs[0].replace_all_uses_with(node.inputs[0])  # type: ignore[arg-type] # a Reshape has an input
        return
    shape = stored(graph, ir.tensor(np.array(spec, np.int64), name=f"{node.name}/shape"))
    node.replace_input_with(1, shape)


def _quotient(source: Sequence[Dim], divisor: Sequence[Dim]) -> Dim | None:
    """The size that -1 stands for: the one symbol left over, or the quotient of the numbers."""
    symbols = [dim for dim in source if isinstance(dim, str)]
    number = int(np.prod([dim for dim in source if isinstance(dim, int)]))
    for dim in divisor:
        if isinstance(dim, int):
            if dim <= 0 or number % dim:
                return None
            number //= dim
        elif dim in symbols:
            symbols.remove(dim)
        else:
            return None
    if not symbols:
        return number
    return symbols[0] if len(symbols) == 1 and number == 1 else None


def _infer_shapes(node: ir.Node, model: ir.Model) -> None:
    if node.domain == DOMAIN:
        # attention's output looks like its query, AddLora's like the layer's; a cache with
        # new entries is a graph output, whose shape was declared
        if not node.outputs[0].is_graph_output():
            node.outputs[0].shape = node.inputs[0].shape  # type: ignore[union-attr] # has a query
        return
    if node.domain != "":
        return
    try:
        inferred = shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, model.opset_imports[""], ""),
            ir.to_proto(node),
            {v.name or "": _type_proto(v) for v in node.inputs if v is not None},
            {name: ir.to_proto(tensor) for name, tensor in _small_constants(node)},
        )
    except (shape_inference.InferenceError, RuntimeError):
        return  # a type the tracer left out: the outputs stay as unknown as they were
    for output in node.outputs:
        if output.name not in inferred:
            continue
        tensor = inferred[output.name].tensor_type
        if tensor.HasField("shape") and not output.is_graph_output():
            output.shape = ir.Shape(
                [
                    d.dim_value if d.HasField("dim_value") else (d.dim_param or None)
                    for d in tensor.shape.dim
                ]
            )
        if tensor.elem_type and output.dtype is None:
            output.dtype = ir.DataType(tensor.elem_type)


def _small_constants(node: ir.Node) -> Iterator[tuple[str, ir.TensorProtocol]]:
    for value in node.inputs:
        tensor = None if value is None else ir.convenience.get_const_tensor(value)
        if value is not None and tensor is not None and tensor.size <= 16:
            yield value.name or "", tensor


def _type_proto(value: ir.Value) -> onnx.TypeProto:
    proto = onnx.TypeProto()
    proto.tensor_type.elem_type = int(value.dtype) if value.dtype is not None else 0
    if value.shape is not None:
        shape = proto.tensor_type.shape  # touching it says "rank known"
        shape.SetInParent()
        for dim in value.shape:
            entry = shape.dim.add()
            if isinstance(dim, int):
                entry.dim_value = dim
            elif dim.value is not None:
                entry.dim_param = dim.value
    return proto


def _dims(value: ir.Value | None) -> list[Dim] | None:
    if value is None or value.shape is None:
        return None
    dims: list[Dim] = []
    for dim in value.shape:
        known = dim if isinstance(dim, int) else dim.value
        if known is None:
            return None
        dims.append(known)
    return dims
