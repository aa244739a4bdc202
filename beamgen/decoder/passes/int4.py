"""Weights in 4 bits: ``com.microsoft::MatMulNBits``, in which blocks of 32 share a scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from beamgen.decoder.passes.products import Lookup, Product, put, tape_at, values_of
from beamgen.quantization.record import Precision
from beamgen.quantization.rounding import BLOCK, Floats, int4_blocks
from beamgen.tape import Tape, stored

#: Whose operators these are.
DOMAIN = "com.microsoft"

_ROUNDED_ACTIVATIONS = 4  # an accuracy_level


def to_int4(
    graph: ir.Graph, products: Sequence[Product], lookups: Sequence[Lookup], _: str
) -> Precision:
    """Let products and lookups of a graph read weights in 4 bits."""
    blocks = _Blocks(graph)
    for product in products:
        tape = tape_at(product)
        put(tape, product, _multiplied(tape, product, blocks))
    for lookup in lookups:
        tape = tape_at(lookup)
        put(tape, lookup, _looked_up(tape, lookup, blocks))
    return Precision(
        name="int4",
        weights="uint4",
        zero_point=8,
        block_size=BLOCK,
        activations=f"int8, one scale for {BLOCK} of a token",
        accuracy_level=_ROUNDED_ACTIVATIONS,
    )


class _Blocks:
    """Packed weights of a graph, each stored once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._packed: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def constant(self, name: str, values: Sequence[int]) -> ir.Value:
        """Numbers that products or lookups share."""
        return stored(self._graph, ir.tensor(np.array(values, np.int64), name=f"quantized.{name}"))

    def weight(self, weight: ir.Value, rows: Callable[[], Floats]) -> tuple[ir.Value, ir.Value]:
        """Packed ``[n, blocks * 16]`` and scales ``[n, blocks]`` of rows ``[n, k]``."""
        if weight not in self._packed:
            packed, scales = int4_blocks(rows())
            flat = packed.reshape(len(packed), -1)
            self._packed[weight] = (
                stored(self._graph, ir.tensor(flat, name=f"{weight.name}.uint4")),
                stored(self._graph, ir.tensor(scales, name=f"{weight.name}.scales")),
            )
        return self._packed[weight]


def _multiplied(tape: Tape, product: Product, stored_blocks: _Blocks) -> ir.Value:
    packed, scales = stored_blocks.weight(product.weight, product.rows)
    assert scales.shape is not None, "an initializer has a shape"
    channels, blocks = (int(dim) for dim in scales.shape.numpy())
    shape = stored_blocks.constant(f"{channels}x{blocks}", [channels, blocks, BLOCK // 2])
    # of initializers alone: ONNX Runtime computes it as it loads the file
    packed = tape.standard("Reshape", packed, shape, output="weight")
    attributes = {
        "K": product.width,
        "N": channels,
        "bits": 4,
        "block_size": BLOCK,
        "accuracy_level": _ROUNDED_ACTIVATIONS,
    }
    inputs = [product.x, packed, scales]
    (result,) = tape.node("MatMulNBits", inputs, ["product"], attributes, domain=DOMAIN)
    return result


def _looked_up(tape: Tape, lookup: Lookup, stored_blocks: _Blocks) -> ir.Value:
    packed, scales = stored_blocks.weight(lookup.table, partial(values_of, lookup.table))
    attributes = {"bits": 4, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    inputs = [packed, lookup.ids, scales]
    (row,) = tape.node("GatherBlockQuantized", inputs, ["row"], attributes, domain=DOMAIN)
    return _cut(tape, row, lookup.table, stored_blocks)


def _cut(tape: Tape, row: ir.Value, table: ir.Value, stored_blocks: _Blocks) -> ir.Value:
    """Rows without what fills their last block."""
    assert table.shape is not None, "an initializer has a shape"
    width = int(table.shape.numpy()[1])
    if width % BLOCK == 0:
        return row
    start, end, last = (
        stored_blocks.constant(f"slice_{value}", [value]) for value in (0, width, -1)
    )
    return tape.standard("Slice", row, start, end, last, output="embedding")
