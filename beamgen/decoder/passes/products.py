"""The products and lookups of a decoder whose weights may be rounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from beamgen.decoder.contract import source_name
from beamgen.quantization.record import COLUMNS
from beamgen.quantization.rounding import Floats
from beamgen.tape import Tape, replace

_TOKEN_IDS = ("input_ids", source_name("input_ids"))


@dataclass(frozen=True)
class Product:
    """A product ``x W``: the nodes that compute it, and where the result goes.

    Attributes:
        reader: the node whose first input is x, ``[..., k]``.
        weight: an initializer, ``[k, n]`` or, where ``by_row``, ``[n, k]``.
        by_row: whether the weight has a row for each output channel.
        out: ``[..., n]``.
        node: the product; what it takes the place of goes when nothing reads it any more.
    """

    reader: ir.Node
    weight: ir.Value
    by_row: bool
    out: ir.Value
    node: ir.Node

    @property
    def x(self) -> ir.Value:
        """The value that is multiplied, as it is now: another product may have given it."""
        value = self.reader.inputs[0]
        assert value is not None, "checked by find_products"
        return value

    @property
    def width(self) -> int:
        """How many features x has, k."""
        return self._shape[1 if self.by_row else 0]

    @property
    def channels(self) -> int:
        """How many features the result has, n."""
        return self._shape[0 if self.by_row else 1]

    @property
    def _shape(self) -> tuple[int, int]:
        assert self.weight.shape is not None, "an initializer has a shape"
        rows, columns = self.weight.shape.numpy()
        return int(rows), int(columns)

    def rows(self) -> Floats:
        """The weight ``[n, k]``."""
        values = values_of(self.weight)
        return values if self.by_row else np.ascontiguousarray(values.T)


@dataclass(frozen=True)
class Lookup:
    """A lookup ``Gather(table, ids)`` along the rows, which gives ``out``."""

    ids: ir.Value
    table: ir.Value
    node: ir.Node

    @property
    def out(self) -> ir.Value:
        """The rows ``[..., k]``."""
        return self.node.outputs[0]


#: Operators that choose; of what was rounded, they may choose something else.
_CHOICES = ("TopK", "ArgMax")
#: Another product, or what reads no number of its input.
_ENDS = ("MatMul", "Gemm", "Shape", "Size")


def find_products(graph: ir.Graph) -> list[Product]:
    """The products of a graph with a constant matrix, but routers, which choose experts."""
    return [product for product in _constant_products(graph) if not _chooses(product)]


def _constant_products(graph: ir.Graph) -> list[Product]:
    found = []
    for node in graph:
        if node.domain != "" or node.op_type not in ("MatMul", "Gemm"):
            continue
        x, weight = node.inputs[:2]
        if x is None or not _is_matrix(weight):
            continue
        assert weight is not None, "checked by _is_matrix"
        if node.op_type == "MatMul":
            found.append(Product(node, weight, False, node.outputs[0], node))
        elif len(node.inputs) == 2 and _is_plain(node):
            by_row = node.attributes.get_int("transB", 0) == 1
            head = _tied_head(node, x.producer(), weight) if by_row else None
            found.append(head or Product(node, weight, by_row, node.outputs[0], node))
    return found


def _chooses(product: Product) -> bool:
    """Whether a choice is made by what a product gives, before another product reads it."""
    return any(node.op_type in _CHOICES for value in _reached(product) for node, _ in value.uses())


def gives(product: Product, output: str) -> bool:
    """Whether an output of the graph is what a product gives, with no other product between."""
    return any(value.is_graph_output() and value.name == output for value in _reached(product))


def _reached(product: Product) -> Iterator[ir.Value]:
    """What is made of a product's result, the result first, until another product reads it."""
    reached, seen = [product.out], set()
    while reached:
        value = reached.pop()
        yield value
        for node, _ in value.uses():
            if node not in seen and node.op_type not in _ENDS:
                seen.add(node)
                reached += node.outputs


def part_biases(graph: ir.Graph) -> None:
    """Let ``Gemm(x, W, bias)`` be a product and an ``Add``: a layer that is fed ``[T, k]``."""
    for node in list(graph):
        if node.op_type != "Gemm" or node.domain != "" or len(node.inputs) != 3:
            continue
        x, weight, bias = node.inputs
        if x is None or bias is None or not _is_matrix(weight) or not _is_plain(node):
            continue
        assert weight is not None, "checked by _is_matrix"
        tape = Tape(node.name or node.op_type)
        transposed = node.attributes.get_int("transB", 0)
        product = tape.standard("Gemm", x, weight, output="product", transB=transposed)
        biased = tape.standard("Add", product, bias, output="biased")
        tape.insert_before(node)
        replace(node.outputs[0], biased)
        graph.remove(node, safe=True)


def find_lookups(graph: ir.Graph) -> list[Lookup]:
    """The tables that token ids choose from: a decoder's, and those that its encoder reads."""
    return [
        Lookup(ids, node.inputs[0], node)
        for ids in graph.inputs
        if ids.name in _TOKEN_IDS
        for node, index in ids.uses()
        if node.op_type == "Gather"
        and index == 1
        and node.inputs[0] is not None
        and _is_matrix(node.inputs[0])
        and not node.attributes.get_int("axis", 0)
    ]


def weights_of(products: Iterable[Product], lookups: Iterable[Lookup]) -> list[ir.Value]:
    """The weights of products and lookups, each once."""
    tables = (lookup.table for lookup in lookups)
    return list(dict.fromkeys([*(product.weight for product in products), *tables]))


def hf_name(weight: ir.Value) -> str:
    """HF's name of a weight: ``model.lm_head.weight.T`` -> ``lm_head.weight``.

    A matrix of a stack is ``model.stack[3].T`` where HF's has a row for each output channel.
    """
    name = (weight.name or "").removeprefix("model.")
    stack, bracket, rest = name.partition("[")
    if bracket:
        return stack if rest.endswith(".T") else stack + COLUMNS
    return name.removesuffix(".T")


def values_of(weight: ir.Value) -> Floats:
    """The numbers of an initializer."""
    assert weight.const_value is not None, "an initializer holds a tensor"
    values: Floats = weight.const_value.numpy()
    return values


def tape_at(place: Product | Lookup) -> Tape:
    """A tape whose nodes are called after the node that they take the place of."""
    return Tape(place.node.name or place.node.op_type)


def put(tape: Tape, place: Product | Lookup, result: ir.Value) -> None:
    """Write what was recorded where a product or lookup stands, and let its result be read."""
    tape.insert_before(place.node)
    replace(place.out, result)


def _tied_head(node: ir.Node, before: ir.Node | None, weight: ir.Value) -> Product | None:
    """What ``place_weights`` wrote, Reshape, Gemm, Reshape: no operator here needs any of them."""
    readers = [use.node for use in node.outputs[0].uses()]
    if before is None or {before.op_type, *(each.op_type for each in readers)} != {"Reshape"}:
        return None
    (after,) = readers
    return Product(before, weight, True, after.outputs[0], node)


def _is_plain(node: ir.Node) -> bool:
    """Whether a Gemm is a product alone, with nothing scaled and x as it is."""
    scales = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    return not node.attributes.get_int("transA", 0) and all(scale == 1.0 for scale in scales)


def _is_matrix(value: ir.Value | None) -> bool:
    return (
        value is not None
        and value.is_initializer()
        and value.dtype == ir.DataType.FLOAT
        and value.shape is not None
        and len(value.shape) == 2
    )
