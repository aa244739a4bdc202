"""A model as text that can be reviewed: one line for each node, and no weights.

Constants stand where they are read. Of initializers, small ones show their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir

#: Numbers of a tensor beyond which its type and shape have to do.
_SHOWN = 8
#: Types whose numbers stand alone.
_PLAIN = (ir.DataType.INT64, ir.DataType.FLOAT)


def printed(model: ir.Model) -> str:
    """The graph, and then the functions in the order of their names."""
    opsets = (f"{name or 'ai.onnx'} {version}" for name, version in model.opset_imports.items())
    lines = [f"opsets {', '.join(opsets)}", "", *_graph(model.graph)]
    for function in sorted(model.functions.values(), key=lambda function: function.name):
        lines += ["", *_function(function)]
    return "\n".join(lines) + "\n"


def _graph(graph: ir.Graph) -> Iterator[str]:
    yield f"graph {graph.name}"
    for value in graph.inputs:
        yield f"  input {_typed(value)}{' (optional)' if value.is_initializer() else ''}"
    for value in graph.initializers.values():
        if not value.is_graph_input():
            yield f"  initializer {_typed(value)}{_numbers_behind(value.const_value)}"
    yield from _nodes(graph)
    untyped = [value.name or "" for value in graph.outputs if value.dtype is None]
    if untyped:
        yield f"  output {', '.join(untyped)}"
    for value in graph.outputs:
        if value.dtype is not None:
            yield f"  output {_typed(value)}"


def _function(function: ir.Function) -> Iterator[str]:
    inputs = [value.name or "" for value in function.inputs]
    parameters = ", ".join([*inputs, *(f"{name}=" for name in function.attributes)])
    yield f"function {function.domain}::{function.name}({parameters})"
    yield from _nodes(function)
    yield f"  return {', '.join(map(_read, function.outputs))}"


def _nodes(nodes: Iterable[ir.Node]) -> Iterator[str]:
    return (f"  {line}" for node in nodes if node.op_type != "Constant" for line in _node(node))


def _node(node: ir.Node) -> Iterator[str]:
    operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    bodies = [a for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
    plain = [_attribute(a) for a in node.attributes.values() if a not in bodies]
    attributes = f" {{{', '.join(plain)}}}" if plain else ""
    outputs = ", ".join(value.name or "" for value in node.outputs)
    yield f"{outputs} = {operator}({', '.join(map(_read, node.inputs))}){attributes}"
    for body in bodies:
        first, *rest = _graph(body.as_graph())
        yield f"  {body.name}: {first}"
        yield from (f"  {line}" for line in rest)


def _read(value: ir.Value | None) -> str:
    """A value's name, or what it is where it is a constant of some numbers."""
    if value is None:
        return ""
    node = value.producer()
    if node is None or node.op_type != "Constant":
        return value.name or ""
    (attribute,) = node.attributes.values()
    return _attribute(attribute).partition("=")[2]


def _attribute(attribute: ir.Attr) -> str:
    value = attribute.ref_attr_name or attribute.value
    if isinstance(value, ir.TensorProtocol):
        return f"{attribute.name}={_tensor(value)}"
    if isinstance(value, tuple | list):
        return f"{attribute.name}=[{', '.join(map(_number, value))}]"
    return f"{attribute.name}={_number(value)}"


def _tensor(tensor: ir.TensorProtocol) -> str:
    """Numbers and lists of the usual types stand alone."""
    rank = len(tensor.shape)
    if tensor.dtype not in _PLAIN or tensor.size > _SHOWN or rank > 1:
        return f"{_kind(tensor.dtype, tensor.shape)}{_numbers_behind(tensor)}"
    numbers = [_number(value) for value in tensor.numpy().ravel().tolist()]
    return f"[{', '.join(numbers)}]" if rank else numbers[0]


def _typed(value: ir.Value) -> str:
    return f"{value.name}: {_kind(value.dtype, value.shape)}"


def _kind(dtype: ir.DataType | None, shape: ir.Shape | None) -> str:
    sizes = () if shape is None else shape
    dims = ", ".join(str(size if isinstance(size, int) else size.value or "?") for size in sizes)
    return f"{'?' if dtype is None else dtype.name}[{dims}]"


def _numbers_behind(tensor: ir.TensorProtocol | None) -> str:
    if tensor is None or tensor.size > _SHOWN:
        return ""
    return "".join(f" {_number(value)}" for value in tensor.numpy().ravel().tolist())


def _number(value: object) -> str:
    """A float in as few digits as tell it from every other float32."""
    if not isinstance(value, float):
        return str(value)
    short = np.float32(value)
    return str(short) if float(short) == value else repr(value)
