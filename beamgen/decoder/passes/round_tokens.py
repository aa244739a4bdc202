"""The functions by which int8 and w16 decoders round what a product reads."""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call, arg-type, type-var"

from __future__ import annotations

import onnx_ir as ir
from onnxscript import UINT8, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops
from beamgen.quantization.rounding import FINER, STEP

_FINE_STEP = STEP / FINER


def has_tokens(x: ir.Value) -> bool:
    """Whether there is always a token: in ``[B, N, k]``, and not in an expert's ``[T, k]``."""
    return x.shape is not None and len(x.shape) == 3


@script(beamgen_ops, default_opset=op)
def RoundTokens(x):  # noqa: N802 - an ONNX operator's name
    """Round each token's activations ``[..., k]`` to bytes around 128, by a scale of its own.

    So a token's numbers do not depend on the beams, rows and padding that are computed
    with it, as they would by the standard ``DynamicQuantizeLinear``.

    Returns:
        numbers uint8 ``[..., k]``, 1 to 255; peaks float ``[..., 1]``:
        ``x ~ (numbers - 128) / 127 * peaks``. A token of zeros gets any numbers.

    Source: Yao et al. 2022, "ZeroQuant", section 3.1 (token-wise quantization).
    """
    peaks = op.ReduceMax(op.Abs(x), op.Constant(value_ints=[-1]), keepdims=1)
    middle = op.Cast(op.Constant(value_float=128.0), to=UINT8.dtype)
    numbers = op.QuantizeLinear(op.Div(x, peaks), op.Constant(value_float=STEP), middle)
    return numbers, peaks


@script(beamgen_ops, default_opset=op)
def RoundSomeTokens(x):  # noqa: N802 - an ONNX operator's name
    """``RoundTokens`` of tokens ``[T, k]``, of which there may be none, as an expert has them.

    ONNX Runtime 1.31 reduces ``[0, k]`` to ``[0, k]``, where the peaks are ``[0, 1]``.
    """
    last = op.Constant(value_ints=[-1])
    reduced = op.ReduceMax(op.Abs(x), last, keepdims=1)
    peaks = op.Slice(reduced, op.Constant(value_ints=[0]), op.Constant(value_ints=[1]), last)
    middle = op.Cast(op.Constant(value_float=128.0), to=UINT8.dtype)
    numbers = op.QuantizeLinear(op.Div(x, peaks), op.Constant(value_float=STEP), middle)
    return numbers, peaks


@script(beamgen_ops, default_opset=op)
def RoundTokensToPlanes(x):  # noqa: N802 - an ONNX operator's name
    """Round each token's activations ``[B, N, k]`` to two planes of bytes around 128.

    The second has what the first leaves, in steps that are ``FINER``.

    Returns:
        first uint8 ``[B, N, k]``, 1 to 255; both uint8 ``[2B, N, k]``, the first and behind it
        the second; peaks float ``[B, N, 1]``:
        ``x ~ (first - 128 + (second - 128) / FINER) / 127 * peaks``. A token of zeros gets any
        numbers.
    """
    peaks = op.ReduceMax(op.Abs(x), op.Constant(value_ints=[-1]), keepdims=1)
    shares = op.Div(x, peaks)
    middle = op.Cast(op.Constant(value_float=128.0), to=UINT8.dtype)
    step = op.Constant(value_float=STEP)
    first = op.QuantizeLinear(shares, step, middle)
    left = op.Sub(shares, op.DequantizeLinear(first, step, middle))
    second = op.QuantizeLinear(left, op.Constant(value_float=_FINE_STEP), middle)
    both = op.Concat(first, second, axis=0)
    return first, both, peaks


@script(beamgen_ops, default_opset=op)
def RoundSomeTokensToPlanes(x):  # noqa: N802 - an ONNX operator's name
    """``RoundTokensToPlanes`` of tokens ``[T, k]``, of which there may be none.

    Returns:
        first ``[1, T, k]``, both ``[2, T, k]`` and peaks ``[1, T, 1]``: ONNX Runtime 1.31 does not
        split ``[0, k]`` into two, and reduces it to ``[0, k]``.
    """
    row = op.Unsqueeze(x, op.Constant(value_ints=[0]))
    last = op.Constant(value_ints=[-1])
    reduced = op.ReduceMax(op.Abs(row), last, keepdims=1)
    peaks = op.Slice(reduced, op.Constant(value_ints=[0]), op.Constant(value_ints=[1]), last)
    shares = op.Div(row, peaks)
    middle = op.Cast(op.Constant(value_float=128.0), to=UINT8.dtype)
    step = op.Constant(value_float=STEP)
    first = op.QuantizeLinear(shares, step, middle)
    left = op.Sub(shares, op.DequantizeLinear(first, step, middle))
    second = op.QuantizeLinear(left, op.Constant(value_float=_FINE_STEP), middle)
    both = op.Concat(first, second, axis=0)
    return first, both, peaks
