"""Weights in 8 bits: ``RoundTokens -> MatMulInteger -> Cast -> Mul -> Mul``.

One scale for each output channel, and one for each token; the weights are signed, or
unsigned around 128.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from beamgen.decoder.passes.products import Lookup, Product, put, tape_at, values_of
from beamgen.decoder.passes.round_tokens import RoundSomeTokens, RoundTokens, has_tokens
from beamgen.decoder.passes.stored_bytes import StoredBytes
from beamgen.quantization.record import Precision
from beamgen.quantization.rounding import int8_rows
from beamgen.tape import Results, Tape


def to_int8(
    graph: ir.Graph, products: Sequence[Product], lookups: Sequence[Lookup], int8_weights: str
) -> Precision:
    """Let products and lookups of a graph read weights in 8 bits."""
    rounded = _Rounded(StoredBytes(graph, int8_weights))
    for product in products:
        tape = tape_at(product)
        put(tape, product, _multiplied(tape, product, rounded))
    for lookup in lookups:
        tape = tape_at(lookup)
        put(tape, lookup, _looked_up(tape, lookup, rounded))
    return rounded.bytes.record("int8", "uint8, one scale for a token")


@dataclass
class _Rounded:
    """The weights and activations in 8 bits, each once for all that read them."""

    bytes: StoredBytes
    weights: dict[ir.Value, tuple[ir.Value, ir.Value]] = field(default_factory=dict)
    activations: dict[ir.Value, Results] = field(default_factory=dict)

    def weight(self, weight: ir.Value, by_row: bool) -> tuple[ir.Value, ir.Value]:
        """Numbers in the weight's own layout, and a scale for each channel."""
        if weight not in self.weights:
            values = values_of(weight)
            numbers, scales = int8_rows(values if by_row else values.T)
            self.weights[weight] = (
                self.bytes.numbers(f"{weight.name}", numbers, by_row),
                self.bytes.floats(f"{weight.name}", scales),
            )
        return self.weights[weight]

    def activation(self, tape: Tape, x: ir.Value) -> Results:
        """Activations as uint8, and their peaks."""
        if x not in self.activations:
            function = RoundTokens if has_tokens(x) else RoundSomeTokens
            self.activations[x] = tape.call(function, x)
        return self.activations[x]


def _multiplied(tape: Tape, product: Product, rounded: _Rounded) -> ir.Value:
    numbers, scales = rounded.weight(product.weight, product.by_row)
    if product.by_row:
        # of an initializer alone: ONNX Runtime computes it as it loads the file
        numbers = tape.standard("Transpose", numbers, output="weight", perm=[1, 0])
    x, peaks = rounded.activation(tape, product.x)
    summed = tape.standard("MatMulInteger", x, numbers, *rounded.bytes.zero_points, output="sum")
    floats = tape.standard("Cast", summed, output="float", to=ir.DataType.FLOAT)
    # of initializers alone, as the Transpose
    steps = tape.standard("Mul", scales, rounded.bytes.step, output="steps")
    by_channel = tape.standard("Mul", floats, steps, output="by_channel")
    return tape.standard("Mul", by_channel, peaks, output="product")


def _looked_up(tape: Tape, lookup: Lookup, rounded: _Rounded) -> ir.Value:
    numbers, scales = rounded.weight(lookup.table, by_row=True)
    row = rounded.bytes.read(tape, numbers, lookup.ids, "row")
    scale = rounded.bytes.scale_of_row(tape, scales, lookup.ids)
    return tape.standard("Mul", row, scale, output="embedding")
