"""The file's random draws, once more in NumPy, for HF ``generate`` to draw with.

With the same random numbers sampling is as deterministic as a search, and can be
compared token by token. Written after Random123's ``philox.h`` and the ONNX
operators' specification, not after the graph's functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
_ROUNDS = 10


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[int, int]) -> tuple[Words, ...]:
    """Four random words of 32 bits, in uint64, by Philox4x32-10 on counters that broadcast."""
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = key
    shift, mask = np.uint64(32), np.uint64(_WORD)
    for _ in range(_ROUNDS):
        p0, p1 = c0 * np.uint64(_MULTIPLIERS[0]), c2 * np.uint64(_MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (p1 >> shift) ^ c1 ^ np.uint64(k0),
            p1 & mask,
            (p0 >> shift) ^ c3 ^ np.uint64(k1),
            p0 & mask,
        )
        k0, k1 = (k0 + _INCREMENTS[0]) & _WORD, (k1 + _INCREMENTS[1]) & _WORD
    return tuple(np.broadcast_arrays(c0, c1, c2, c3))


def gumbel_noise(seed: int, step: int, beams: int, vocab_size: int) -> Floats:
    """The noise that is added to a row's scores ``[beams, V]`` in a step, counted from 0."""
    token = np.arange(vocab_size)[None, :]
    beam = np.arange(beams)[:, None]
    word = philox((token, beam, step, 0), (seed & _WORD, seed >> 32 & _WORD))[0]
    uniform = (word.astype(np.float64) + 0.5) * 2.0**-32
    noise: Floats = -np.log(-np.log(uniform))
    return noise


@contextlib.contextmanager
def seeded_multinomial(seed: int, batch: int, sequences: int, vocab_size: int) -> Iterator[None]:
    """Let ``torch.multinomial`` draw as the file does, once per step.

    Args:
        seed: of the first row; the others' count up.
        batch: B.
        sequences: K beams, or the independent sequences of one beam.
        vocab_size: V.
    """
    import torch

    original, step = torch.multinomial, 0

    def multinomial(probabilities: torch.Tensor, num_samples: int, **_: Any) -> torch.Tensor:
        nonlocal step
        noise = [gumbel_noise(seed + row, step, sequences, vocab_size) for row in range(batch)]
        step += 1
        perturbed = probabilities.double().log() + torch.from_numpy(np.stack(noise)).reshape(
            probabilities.shape
        )
        return perturbed.topk(num_samples, dim=-1).indices

    torch.multinomial = multinomial  # type: ignore[assignment] # as far as HF calls it
    try:
        yield
    finally:
        torch.multinomial = original
