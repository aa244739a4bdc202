"""A small decoder, and its rounding done by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, shape_inference

from beamgen.decoder.passes.place_weights import place_weights

VOCAB, WIDTH, INNER = 50, 40, 64  # 40 fills its second block of 32 with zeros
IDS = np.array([[3, 7, 49, 0], [1, 1, 2, 30]])
_RNG = np.random.default_rng(0)
TABLE = _RNG.normal(size=(VOCAB, WIDTH)).astype(np.float32)
UP = _RNG.normal(size=(WIDTH, INNER)).astype(np.float32)
DOWN = _RNG.normal(size=(INNER, WIDTH)).astype(np.float32)
HEAD = _RNG.normal(size=(VOCAB, WIDTH)).astype(np.float32)


def small_decoder(tied: bool) -> ir.Model:
    """A token's row, up, down, and a head, tied or not."""
    head = "table" if tied else "head"
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["hidden"], name="embed"),
        helper.make_node("MatMul", ["hidden", "up"], ["inner"], name="up"),
        helper.make_node("MatMul", ["inner", "down"], ["out"], name="down"),
        helper.make_node("Transpose", [head], ["headT"], perm=[1, 0]),
        helper.make_node("MatMul", ["out", "headT"], ["logits"], name="lm_head"),
    ]
    weights = {"table": TABLE, "up": UP, "down": DOWN} | ({} if tied else {"head": HEAD})
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "new"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "new", VOCAB])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 23)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return place_weights(ir.from_proto(shape_inference.infer_shapes(proto)))


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def round_tokens(x: np.ndarray) -> np.ndarray:
    """Each row by its own scale, and back."""
    scale = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    return (np.rint(x / scale) * scale).astype(np.float32)


def round_blocks_of_tokens(x: np.ndarray) -> np.ndarray:
    """MLAS's rounding of each 32 of a row, and back."""
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % 32)])
    blocks = padded.reshape(*x.shape[:-1], -1, 32)
    peak = np.abs(blocks).max(axis=-1, keepdims=True)
    rounded = np.rint(blocks * (127 / peak)) * (peak / 127)
    return rounded.reshape(padded.shape)[..., : x.shape[-1]].astype(np.float32)


def round_rows(weight: np.ndarray, levels: int = 127) -> np.ndarray:
    scale = np.abs(weight).max(axis=1, keepdims=True) / levels
    return np.rint(weight / scale) * scale


def round_blocks(weight: np.ndarray) -> np.ndarray:
    """Each 32 of a row, the largest of which is -8 or 8 times the scale, which has 16 bits."""
    padded = np.pad(weight, ((0, 0), (0, -weight.shape[1] % 32))).reshape(len(weight), -1, 32)
    peak = np.take_along_axis(padded, np.abs(padded).argmax(-1)[..., None], axis=-1)
    scale = peak / -8
    return (
        (np.clip(np.rint(padded / scale), -8, 7) * scale.astype(np.float16).astype(np.float32))
        .reshape(len(weight), -1)[:, : weight.shape[1]]
        .astype(np.float32)
    )


def two_planes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row in steps of a 127th of its peak, and what that leaves in steps of 1/254 of those."""
    step = np.abs(values).max(axis=-1, keepdims=True) / np.float32(127)
    shares = values / step
    first = np.rint(shares)
    return first * step, np.rint((shares - first) * 254) / 254 * step


Rounding = Callable[[np.ndarray], np.ndarray]


def _half(weight: np.ndarray) -> np.ndarray:
    return weight.astype(np.float16).astype(np.float32)


def _as_it_is(x: np.ndarray) -> np.ndarray:
    return x


_BYTES = (round_rows, round_tokens)
#: How a layer rounds its weight ``[n, k]`` and what it multiplies it with.
LAYERS: dict[str, tuple[Rounding, Rounding]] = {
    "fp16": (_half, _as_it_is),
    "int8": _BYTES,
    "int4": (round_blocks, round_blocks_of_tokens),
}
#: The same of a token table, and of what gives the logits.
TABLES = {**LAYERS, "int4": _BYTES}
