"""Whether this CPU adds u8 x s8 products exactly.

Without VNNI an x86 CPU multiplies bytes with ``vpmaddubsw``, which adds two products
in 16 bits: 255 * 127 + 255 * 127 does not fit. ONNX Runtime uses it for signed weights
and does not warn.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from beamgen.errors import SettingError

_SUMMED = 64


@cache
def saturates() -> bool:
    """Whether ONNX Runtime's ``MatMulInteger`` overflows here with int8 weights.

    Asked of ONNX Runtime itself: a product whose exact sum is known.
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weight = np.full((_SUMMED, 1), 127, np.int8)
    node = helper.make_node("MatMulInteger", ["a", "w"], ["y"])
    graph = helper.make_graph(
        [node],
        "probe",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [1, _SUMMED])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1])],
        [numpy_helper.from_array(weight, "w")],
    )
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"a": np.full((1, _SUMMED), 255, np.uint8)})
    return int(found[0, 0]) != 255 * 127 * _SUMMED


def inexact(weights: str) -> str | None:
    """What makes a file with weights of this dtype wrong on this CPU, and the cure; or None."""
    return f"{_WRONG}; {_CURE}" if weights == "int8" and saturates() else None


def check_exact(weights: str) -> None:
    """Refuse to compare anything where this CPU overflows.

    Raises:
        SettingError: it does, with weights of this dtype.
    """
    if inexact(weights):
        raise SettingError(_WRONG, f"{_CURE}; or compare on a CPU with VNNI (export --no-parity)")


#: Where bytes are not multiplied at their fastest.
SLOW_PLANES = (
    "this CPU has no instructions (VNNI) that add products of bytes in 32 bits, and w16, which "
    "multiplies three times as many as int8, gains no speed over fp32 without them"
)

_WRONG = (
    "this CPU adds u8 x s8 products in 16 bits, which overflow with signed int8 weights, so that "
    "a file answers otherwise than elsewhere"
)
_CURE = "a file exported with --int8-weights u8 is exact here"
