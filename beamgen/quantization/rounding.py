"""How weights and activations are rounded: the arithmetic of ONNX Runtime's operators.

The file stores what these functions return, and HF's side of a parity check computes
with what they give back.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

#: Weights that share a scale in int4.
BLOCK = 32
#: What stands for 0 among unsigned weights.
MIDDLE = 128

_LEVELS = 127  # of int8, on either side of 0
#: From one rounded activation to the next in int8, as a share of its token's peak.
STEP = 1 / _LEVELS
#: Steps of a second plane in one of the first, what is left of which lies within +-127 of them.
FINER = 2 * _LEVELS
Float = TypeVar("Float", bound=Any)


def int8_rows(weight: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Round a weight ``[n, k]`` to numbers ``[n, k]`` within +-127 and scales ``[n]``, by rows."""
    peak = np.abs(weight).max(axis=1)
    scales = np.where(peak > 0, peak / np.float32(_LEVELS), 1).astype(np.float32)
    numbers = np.rint(weight / scales[:, None])
    return numbers.astype(np.int8), scales


def from_int8_rows(weight: Floats) -> Floats:
    """The weight that its numbers in 8 bits stand for."""
    numbers, scales = int8_rows(weight)
    return numbers.astype(np.float32) * scales[:, None]


def int8_planes(
    weight: Floats,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8], Floats]:
    """Round a weight ``[n, k]`` to two planes of numbers ``[n, k]`` and scales ``[n]``, by rows.

    The second holds what the first leaves, in steps that are ``FINER``: it stands for
    ``(first + second / FINER) * scale``.
    """
    first, scales = int8_rows(weight)
    left = weight / scales[:, None] - first
    second = np.rint(left * np.float32(FINER)).clip(-_LEVELS, _LEVELS)
    return first, second.astype(np.int8), scales


def from_int8_planes(weight: Floats) -> tuple[Floats, Floats]:
    """What the two planes of a weight stand for, whose sum is the rounded weight."""
    first, second, scales = int8_planes(weight)
    steps = scales[:, None]
    fine: Floats = steps / np.float32(FINER)
    return first.astype(np.float32) * steps, second.astype(np.float32) * fine


def int4_blocks(weight: Floats) -> tuple[Bytes, npt.NDArray[Any]]:
    """Round a weight ``[n, k]`` to packed ``[n, blocks, 16]`` and scales ``[n, blocks]``.

    Two numbers, 0 to 15 around 8, share a byte, the first in its lower half. The last
    block is filled up with zeros. The scales are float16, or float32 where one of them lies
    outside of what float16 holds with all its digits.

    Source: onnxruntime's ``quantize_matmul_4bits``, symmetric.
    """
    from onnxruntime.capi._pybind_state import quantize_matmul_4bits

    rows, columns = weight.shape
    blocks = -(-columns // BLOCK)
    padded = np.pad(weight, ((0, 0), (0, blocks * BLOCK - columns)))
    packed = np.zeros((rows, blocks, BLOCK // 2), np.uint8)
    scales = np.zeros((rows, blocks), np.float32)
    unused = np.zeros((rows, -(-blocks // 2)), np.uint8)
    quantize_matmul_4bits(
        packed, np.ascontiguousarray(padded.T), scales, unused, BLOCK, rows, columns, True
    )
    sizes = np.abs(scales[scales != 0])
    half = np.finfo(np.float16)
    fits = np.all((sizes >= half.tiny) & (sizes <= half.max))
    return packed, scales.astype(np.float16) if fits else scales


def from_int4_blocks(weight: Floats) -> Floats:
    """The weight that its numbers in 4 bits stand for."""
    packed, scales = int4_blocks(weight)
    numbers = np.stack([packed & 15, packed >> 4], axis=-1).astype(np.float32) - 8
    blocks = numbers.reshape(*scales.shape, BLOCK) * scales.astype(np.float32)[:, :, None]
    return blocks.reshape(len(weight), -1)[:, : weight.shape[1]]


def from_float16(weight: Floats) -> Floats:
    """The weight that float16 holds of it."""
    return weight.astype(np.float16).astype(np.float32)
