"""Store each weight once, in the layout its product reads."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from beamgen.tape import Tape, replace, stored


def place_weights(model: ir.Model) -> ir.Model:
    """Rewrite ``MatMul(x, Transpose(W))``; returns the same model, changed.

    A weight nobody else reads is stored transposed. A tied one, which the token
    embedding gathers from as well, stays as it is and is read by
    ``Gemm(transB=1)``: ONNX Runtime prepacks both forms alike, and a second copy
    of a vocabulary is the largest tensor there is.
    """
    for node in list(model.graph):
        if node.op_type == "MatMul" and node.domain == "":
            weight = node.inputs[1]
            transpose = weight.producer() if weight is not None else None
            if transpose is not None and _transposes_matrix(transpose):
                _rewrite(model.graph, node, transpose)
    return model


def _transposes_matrix(node: ir.Node) -> bool:
    source = node.inputs[0]
    return (
        node.op_type == "Transpose"
        and source is not None
        and source.is_initializer()
        and tuple(node.attributes.get_ints("perm", (1, 0))) == (1, 0)
    )


def _rewrite(graph: ir.Graph, product: ir.Node, transpose: ir.Node) -> None:
    weight = transpose.inputs[0]
    assert weight is not None, "checked by _transposes_matrix"
    readers = {use.node for use in weight.uses()}
    if all(_transposes_matrix(reader) for reader in readers):
        transpose.outputs[0].replace_all_uses_with(_transposed(graph, weight))
    else:
        _read_by_gemm(product, weight)


def _transposed(graph: ir.Graph, weight: ir.Value) -> ir.Value:
    """An initializer ``W^T``, computed when it is written and not kept."""
    tensor = weight.const_value
    assert tensor is not None, "an initializer holds a tensor"
    rows, columns = tensor.shape.numpy()
    name = f"{weight.name}.T"
    flipped = ir.LazyTensor(
        lambda: ir.tensor(np.ascontiguousarray(tensor.numpy().T), name=name),
        dtype=tensor.dtype,
        shape=ir.Shape((columns, rows)),
        name=name,
    )
    return stored(graph, flipped)


def _read_by_gemm(product: ir.Node, weight: ir.Value) -> None:
    """Multiply ``[B, n, hidden] x W^T``: flatten the rows, Gemm, restore them."""
    hidden, out = product.inputs[0], product.outputs[0]
    assert hidden is not None, "a product has two inputs"
    assert weight.shape is not None, "an initializer has a shape"
    vocab, width = (int(dim) for dim in weight.shape.numpy())
    tape = Tape(product.name or "product")
    flat = tape.constant("flat", [-1, width])
    rows = tape.standard("Reshape", hidden, flat, output="rows")
    products = tape.standard("Gemm", rows, weight, output="products", transB=1)
    leading = tape.standard("Shape", hidden, output="leading", end=-1)
    last = tape.constant("vocab", [vocab])
    target = tape.standard("Concat", leading, last, output="target", axis=0)
    logits = tape.standard("Reshape", products, target, output="logits")
    tape.insert_before(product)
    replace(out, logits)
    assert product.graph is not None, "it is part of the graph"
    product.graph.remove(product, safe=True)
