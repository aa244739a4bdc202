"""Weights in 16 bits: two planes of bytes, and three of the four products of their planes.

``W = s (Q1 + Q2 / 254)`` and each token ``x = p (A1 + A2 / 254)`` give
``x W = s p (A1 Q1 + (A2 Q1 + A1 Q2) / 254)``: ``A2 Q2``, which is divided by 254 twice, is left
out. A1 and A2 are the rows of one product, so that Q1 is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from beamgen.decoder.passes.products import Lookup, Product, put, tape_at, values_of
from beamgen.decoder.passes.round_tokens import (
    RoundSomeTokensToPlanes,
    RoundTokensToPlanes,
    has_tokens,
)
from beamgen.decoder.passes.stored_bytes import StoredBytes
from beamgen.quantization.record import Precision
from beamgen.quantization.rounding import FINER, int8_planes
from beamgen.tape import Results, Tape

_FLOAT = ir.DataType.FLOAT


def to_w16(
    graph: ir.Graph, products: Sequence[Product], lookups: Sequence[Lookup], int8_weights: str
) -> Precision:
    """Let products and lookups of a graph read weights in two planes of 8 bits."""
    planes = _Planes(StoredBytes(graph, int8_weights))
    for product in products:
        tape = tape_at(product)
        put(tape, product, _multiplied(tape, product, planes))
    for lookup in lookups:
        tape = tape_at(lookup)
        put(tape, lookup, _looked_up(tape, lookup, planes))
    return planes.bytes.record("w16", "two planes of uint8, one scale for a token")


@dataclass
class _Planes:
    """The weights and activations in two planes, each once for all that read them."""

    bytes: StoredBytes
    weights: dict[ir.Value, Results] = field(default_factory=dict)
    activations: dict[ir.Value, Results] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Store what a step of the second plane is of one of the first."""
        self.finer = self.bytes.constant("finer", np.array(1 / FINER, np.float32))

    def weight(self, weight: ir.Value, by_row: bool) -> Results:
        """Two planes in the weight's own layout, and a scale for each channel."""
        if weight not in self.weights:
            values = values_of(weight)
            first, second, scales = int8_planes(values if by_row else values.T)
            self.weights[weight] = Results(
                first=self.bytes.numbers(f"{weight.name}.first", first, by_row),
                second=self.bytes.numbers(f"{weight.name}.second", second, by_row),
                scales=self.bytes.floats(f"{weight.name}", scales),
            )
        return self.weights[weight]

    def activation(self, tape: Tape, x: ir.Value) -> Results:
        """The first plane of activations, both, and their peaks."""
        if x not in self.activations:
            function = RoundTokensToPlanes if has_tokens(x) else RoundSomeTokensToPlanes
            self.activations[x] = tape.call(function, x)
        return self.activations[x]


def _multiplied(tape: Tape, product: Product, planes: _Planes) -> ir.Value:
    weight = planes.weight(product.weight, product.by_row)
    first, second = weight.first, weight.second
    if product.by_row:
        # of initializers alone: ONNX Runtime computes them as it loads the file
        first = tape.standard("Transpose", first, output="first_weight", perm=[1, 0])
        second = tape.standard("Transpose", second, output="second_weight", perm=[1, 0])
    x = planes.activation(tape, product.x)
    zeros = planes.bytes.zero_points
    sums = tape.standard("MatMulInteger", x.both, first, *zeros, output="sums")  # [2B, N, n]
    by_second = tape.standard("MatMulInteger", x.first, second, *zeros, output="by_second")
    halves = {"axis": 0, "num_outputs": 2}
    parts = tape.node("Split", [sums], ["coarse", "of_second"], halves)
    fine = tape.standard("Add", parts.of_second, by_second, output="fine")
    coarse = tape.standard("Cast", parts.coarse, output="coarse_float", to=_FLOAT)
    fine = tape.standard("Cast", fine, output="fine_float", to=_FLOAT)
    fine = tape.standard("Mul", fine, planes.finer, output="finer")
    summed = tape.standard("Add", coarse, fine, output="sum")
    # of initializers alone, as the Transpose
    steps = tape.standard("Mul", weight.scales, planes.bytes.step, output="steps")
    by_channel = tape.standard("Mul", summed, steps, output="by_channel")
    found = tape.standard("Mul", by_channel, x.peaks, output="product")
    if has_tokens(product.x):
        return found
    row = planes.bytes.constant("first_axis", np.array([0], np.int64))
    return tape.standard("Squeeze", found, row, output="tokens")


def _looked_up(tape: Tape, lookup: Lookup, planes: _Planes) -> ir.Value:
    table = planes.weight(lookup.table, by_row=True)
    first = planes.bytes.read(tape, table.first, lookup.ids, "first")
    second = planes.bytes.read(tape, table.second, lookup.ids, "second")
    second = tape.standard("Mul", second, planes.finer, output="finer")
    row = tape.standard("Add", first, second, output="row")
    scale = planes.bytes.scale_of_row(tape, table.scales, lookup.ids)
    return tape.standard("Mul", row, scale, output="embedding")
