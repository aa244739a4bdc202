"""The inputs and outputs of a model, with what the file says of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from beamgen.inspect.description import Port

if TYPE_CHECKING:
    import onnx

#: Of a default with more elements the size is said.
_SHOWN_ELEMENTS = 8


def inputs_of(graph: onnx.GraphProto) -> list[Port]:
    """Those with a default, too."""
    defaults = {tensor.name: tensor for tensor in graph.initializer}
    return [
        _port(
            value,
            required=value.name not in defaults,
            default=_default(defaults[value.name]) if value.name in defaults else None,
        )
        for value in graph.input
    ]


def outputs_of(graph: onnx.GraphProto) -> list[Port]:
    """In order."""
    return [_port(value) for value in graph.output]


def dtype_name(number: int) -> str:
    """As NumPy says it, e.g. ``float32``."""
    import onnx

    if number not in onnx.TensorProto.DataType.values():
        return f"unknown type {number}"
    name: str = onnx.TensorProto.DataType.Name(number).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _port(value: onnx.ValueInfoProto, *, required: bool = False, default: Any = None) -> Port:
    kind = value.type.tensor_type
    return Port(
        name=value.name,
        dtype=dtype_name(kind.elem_type),
        shape=[_size(dim) for dim in kind.shape.dim] if kind.HasField("shape") else None,
        meaning=value.doc_string,
        required=required,
        default=default,
    )


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None


def _default(tensor: onnx.TensorProto) -> Any:
    from onnx import numpy_helper

    if math.prod(tensor.dims) > _SHOWN_ELEMENTS or tensor.external_data:
        return f"{' x '.join(map(str, tensor.dims))} values"
    try:
        return numpy_helper.to_array(tensor).tolist()
    except Exception:  # too few bytes, an unknown type, no UTF-8: each fails in its own way
        return "damaged"
