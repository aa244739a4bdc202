"""The function by which an int8 decoder rounds what a product reads."""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call, arg-type, type-var"

from __future__ import annotations

from onnxscript import UINT8, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops
from beamgen.quantization.rounding import STEP


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
