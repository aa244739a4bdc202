"""Numbers in 8 bits as a graph stores them: signed, or unsigned around 128."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from beamgen.quantization.record import Precision
from beamgen.quantization.rounding import MIDDLE, STEP
from beamgen.quantization.saturation import saturates
from beamgen.tape import Tape, stored


@dataclass
class StoredBytes:
    """What stores weights in 8 bits in a graph, and what their products share.

    Attributes:
        graph: that of the products.
        int8_weights: ``s8``, ``u8``, or ``auto``: unsigned where this CPU saturates.
    """

    graph: ir.Graph
    int8_weights: str

    def __post_init__(self) -> None:
        """Store what all products read."""
        self.saturates = saturates()
        unsigned = self.int8_weights == "u8" or (self.int8_weights == "auto" and self.saturates)
        self.signed = not unsigned
        self.middle = self.constant("zero_point", np.array(MIDDLE, np.uint8))
        self.step = self.constant("step", np.array(STEP, np.float32))

    @property
    def dtype(self) -> str:
        """The dtype of the weights."""
        return "int8" if self.signed else "uint8"

    @property
    def zero_points(self) -> list[ir.Value]:
        """What a product reads behind its activations and weights."""
        return [self.middle] if self.signed else [self.middle, self.middle]

    def record(self, name: str, activations: str) -> Precision:
        """The record of a precision whose weights are stored so."""
        return Precision(
            name=name,
            weights=self.dtype,
            zero_point=0 if self.signed else MIDDLE,
            activations=activations,
            saturates=self.saturates,
        )

    def constant(self, name: str, value: np.ndarray) -> ir.Value:
        """A number that products or lookups share."""
        return stored(self.graph, ir.tensor(value, name=f"quantized.{name}"))

    def numbers(self, name: str, rows: npt.NDArray[np.int8], by_row: bool) -> ir.Value:
        """Numbers ``[n, k]``, stored as they are where ``by_row``, and else as ``[k, n]``."""
        placed = rows if by_row else rows.T
        unsigned = (placed.astype(np.int16) + MIDDLE).astype(np.uint8)
        kept = np.ascontiguousarray(placed if self.signed else unsigned)
        return stored(self.graph, ir.tensor(kept, name=f"{name}.{self.dtype}"))

    def floats(self, name: str, values: npt.NDArray[np.float32]) -> ir.Value:
        """Scales of a weight."""
        return stored(self.graph, ir.tensor(values, name=f"{name}.scales"))

    def read(self, tape: Tape, numbers: ir.Value, ids: ir.Value, output: str) -> ir.Value:
        """The rows of a table that ids ``[B, N]`` choose, as floats within +-127 ``[B, N, k]``."""
        row = tape.standard("Gather", numbers, ids, output=output)
        row = tape.standard("Cast", row, output=f"{output}_float", to=ir.DataType.FLOAT)
        if self.signed:
            return row
        half = self.constant("middle", np.array(MIDDLE, np.float32))
        return tape.standard("Sub", row, half, output=f"{output}_around_zero")

    def scale_of_row(self, tape: Tape, scales: ir.Value, ids: ir.Value) -> ir.Value:
        """The scales ``[B, N, 1]`` of the rows that ids ``[B, N]`` choose."""
        last = self.constant("last_axis", np.array([-1], np.int64))
        scale = tape.standard("Gather", scales, ids, output="scale")
        return tape.standard("Unsqueeze", scale, last, output="scale_of_row")
