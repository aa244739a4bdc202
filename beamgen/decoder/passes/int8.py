"""Weights in 8 bits: ``RoundTokens -> MatMulInteger -> Cast -> Mul -> Mul``.

One scale for each output channel, and one for each token; the weights are signed, or
unsigned around 128.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from beamgen.decoder.passes.products import Lookup, Product, put, tape_at, values_of
from beamgen.decoder.passes.round_tokens import RoundSomeTokens, RoundTokens
from beamgen.quantization.record import Precision
from beamgen.quantization.rounding import MIDDLE, STEP, int8_rows
from beamgen.quantization.saturation import saturates
from beamgen.tape import Results, Tape, stored

_FLOAT = ir.DataType.FLOAT


def to_int8(
    graph: ir.Graph, products: Sequence[Product], lookups: Sequence[Lookup], int8_weights: str
) -> Precision:
    """Let products and lookups of a graph read weights in 8 bits."""
    saturating = saturates()
    signed = int8_weights == "s8" or (int8_weights == "auto" and not saturating)
    rounded = _Rounded(graph, signed)
    for product in products:
        tape = tape_at(product)
        put(tape, product, _multiplied(tape, product, rounded))
    for lookup in lookups:
        tape = tape_at(lookup)
        put(tape, lookup, _looked_up(tape, lookup, rounded))
    return Precision(
        name="int8",
        weights=rounded.dtype,
        zero_point=0 if signed else MIDDLE,
        activations="uint8, one scale for a token",
        saturates=saturating,
    )


@dataclass
class _Rounded:
    """The weights and activations in 8 bits, each once for all that read them."""

    graph: ir.Graph
    signed: bool
    weights: dict[ir.Value, tuple[ir.Value, ir.Value]] = field(default_factory=dict)
    activations: dict[ir.Value, Results] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Store what all products read."""
        self.middle = self.constant("zero_point", np.array(MIDDLE, np.uint8))
        self.share = self.constant("step", np.array(STEP, np.float32))

    @property
    def dtype(self) -> str:
        """The dtype of the weights."""
        return "int8" if self.signed else "uint8"

    def constant(self, name: str, value: np.ndarray) -> ir.Value:
        """A number that products or lookups share."""
        return stored(self.graph, ir.tensor(value, name=f"quantized.{name}"))

    def weight(self, weight: ir.Value, by_row: bool) -> tuple[ir.Value, ir.Value]:
        """Numbers in the weight's own layout, and a scale for each channel."""
        if weight not in self.weights:
            values = values_of(weight)
            numbers, scales = int8_rows(values if by_row else values.T)
            placed = numbers if by_row else numbers.T
            unsigned = (placed.astype(np.int16) + MIDDLE).astype(np.uint8)
            kept = np.ascontiguousarray(placed if self.signed else unsigned)
            self.weights[weight] = (
                stored(self.graph, ir.tensor(kept, name=f"{weight.name}.{self.dtype}")),
                stored(self.graph, ir.tensor(scales, name=f"{weight.name}.scales")),
            )
        return self.weights[weight]

    def activation(self, tape: Tape, x: ir.Value) -> Results:
        """Activations as uint8, and their peaks."""
        if x not in self.activations:
            always = x.shape is not None and len(x.shape) == 3  # [B, N, k] has tokens
            self.activations[x] = tape.call(RoundTokens if always else RoundSomeTokens, x)
        return self.activations[x]


def _multiplied(tape: Tape, product: Product, rounded: _Rounded) -> ir.Value:
    numbers, scales = rounded.weight(product.weight, product.by_row)
    if product.by_row:
        # of an initializer alone: ONNX Runtime computes it as it loads the file
        numbers = tape.standard("Transpose", numbers, output="weight", perm=[1, 0])
    x, peaks = rounded.activation(tape, product.x)
    zero_points = [rounded.middle] if rounded.signed else [rounded.middle, rounded.middle]
    summed = tape.standard("MatMulInteger", x, numbers, *zero_points, output="sum")
    floats = tape.standard("Cast", summed, output="float", to=_FLOAT)
    # of initializers alone, as the Transpose
    steps = tape.standard("Mul", scales, rounded.share, output="steps")
    by_channel = tape.standard("Mul", floats, steps, output="by_channel")
    return tape.standard("Mul", by_channel, peaks, output="product")


def _looked_up(tape: Tape, lookup: Lookup, rounded: _Rounded) -> ir.Value:
    numbers, scales = rounded.weight(lookup.table, by_row=True)
    row = tape.standard("Gather", numbers, lookup.ids, output="row")
    row = tape.standard("Cast", row, output="float", to=_FLOAT)
    if not rounded.signed:
        half = rounded.constant("middle", np.array(MIDDLE, np.float32))
        row = tape.standard("Sub", row, half, output="around_zero")
    scale = tape.standard("Gather", scales, lookup.ids, output="scale")
    last = rounded.constant("last_axis", np.array([-1], np.int64))
    scale = tape.standard("Unsqueeze", scale, last, output="scale_of_row")
    return tape.standard("Mul", row, scale, output="embedding")
