"""Inputs and outputs of a search graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from beamgen.decoder.contract import slot_ports
from beamgen.lora.slots import Slot
from beamgen.seq2seq_adapter import Source
from beamgen.settings.parameter import Parameter
from beamgen.settings.result import OUTPUT_MEANINGS
from beamgen.tape import Tape

_NO_WINDOW = 2**62


def typed(name: str, dtype: ir.DataType, *shape: int | str) -> ir.Value:
    """A value whose type is known: an input of a graph."""
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


def declare(value: ir.Value, name: str, dtype: ir.DataType, *shape: int | str) -> None:
    """Make a value an output of a graph."""
    value.name, value.dtype, value.shape = name, dtype, ir.Shape(shape)


def attended_window(tape: Tape, attention_window: int | None) -> ir.Value:
    """The number of tokens that a position sees, itself included, int64 ``[1]``."""
    return tape.constant("attention_window", [attention_window or _NO_WINDOW])


def prompt_input(name: str, meaning: str, dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
    """An input ``[batch, prompt_len]``."""
    value = typed(name, dtype, "batch", "prompt_len")
    value.doc_string = meaning
    return value


def source_input(source: Source) -> ir.Value:
    """An input that an encoder reads."""
    dtype = ir.DataType.INT64 if source.integer else ir.DataType.FLOAT
    value = typed(source.name, dtype, *source.axes)
    value.doc_string = source.meaning
    return value


def search_output(value: ir.Value, name: str, dtype: ir.DataType, *further: str) -> ir.Value:
    """Declare a value as an output ``[batch, num_return_sequences, ...]``."""
    declare(value, name, dtype, "batch", "num_return_sequences", *further)
    value.doc_string = OUTPUT_MEANINGS[name]
    return value


def parameter_inputs(
    parameters: Iterable[Parameter],
    defaults: Mapping[str, npt.NDArray[Any]],
    required: Collection[str] = (),
) -> dict[str, ir.Value]:
    """Inputs that are initializers too: their defaults, which a caller may override.

    Those that are required have no default. Each axis has a name of its own: one
    row's value and all rows' do not meet.
    """
    values = {}
    for parameter in parameters:
        tensor = ir.tensor(defaults[parameter.name], name=parameter.name)
        axes = [
            int(axis) if axis.isdecimal() else f"{axis}_{parameter.name}" for axis in parameter.axes
        ]
        values[parameter.name] = ir.Value(
            name=parameter.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(axes),
            const_value=None if parameter.name in required else tensor,
            doc_string=parameter.meaning,
        )
    return values


def slot_inputs(
    slots: Iterable[Slot], rows: int | str, *, required: bool = False
) -> dict[str, ir.Value]:
    """Inputs for a LoRA's A and B, whose default is of rank 0 unless they are required."""
    values = {}
    for slot in slots:
        ports = slot_ports(slot, rows).items()
        for (name, port), empty in zip(ports, slot.empty(), strict=True):
            values[name] = ir.Value(
                name=name,
                type=ir.TensorType(port.dtype),
                shape=ir.Shape(port.shape),
                const_value=None if required else ir.tensor(empty, name=name),
            )
    return values


def with_default(inputs: Iterable[ir.Value]) -> list[ir.Value]:
    """The inputs that are initializers too, as they have a default."""
    return [value for value in inputs if value.const_value is not None]
