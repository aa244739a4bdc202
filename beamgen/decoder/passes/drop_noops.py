"""Bypass nodes that hand their input on: what general model code leaves in one case.

Phi-3 splits each head into a rotated and an untouched part, of which the second
is usually empty; HF casts to the dtype a tensor already has.
"""

from __future__ import annotations

import onnx_ir as ir


def drop_noops(model: ir.Model) -> ir.Model:
    """Bypass Casts to the same type, Slices of everything, Concats of one part.

    Reads the shapes that ``fold_shapes`` leaves; returns the same model, changed.
    """
    for node in model.graph:
        if node.domain == "" and not node.outputs[0].is_graph_output():
            source = _handed_on(node)
            if source is not None:
                node.outputs[0].replace_all_uses_with(source)
    return model


def _handed_on(node: ir.Node) -> ir.Value | None:
    """The input that equals the node's output, or None."""
    source = node.inputs[0] if node.inputs else None
    if source is None:
        return None
    if node.op_type == "Cast" and source.dtype == node.attributes["to"].as_int():
        return source
    if node.op_type == "Slice" and _takes_all(node, source):
        return source
    if node.op_type == "Concat":
        full = [value for value in node.inputs if not _is_empty(value)]
        return full[0] if len(full) == 1 else None
    return None


def _takes_all(node: ir.Node, source: ir.Value) -> bool:
    """Whether a Slice along one axis starts at 0 and ends at or beyond its size."""
    bounds = [_number(value) for value in node.inputs[1:]]
    start, end, axis, step = [*bounds, None, 1][:4] if len(bounds) < 4 else bounds
    if end is None or axis is None or source.shape is None:
        return False
    size = source.shape[axis]
    return (start, step) == (0, 1) and isinstance(size, int) and end >= size


def _is_empty(value: ir.Value | None) -> bool:
    return value is not None and value.shape is not None and 0 in value.shape


def _number(value: ir.Value | None) -> int | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return int(tensor.numpy().item()) if tensor is not None and tensor.size == 1 else None
