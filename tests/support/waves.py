"""Sounds, and files of them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np


def tone(seconds: float = 0.5, rate: int = 16_000, pitch: float = 300.0) -> np.ndarray:
    """A tone that rises and falls, float32 ``[n]``."""
    time = np.arange(int(seconds * rate)) / rate
    swell = np.sin(np.pi * time / max(seconds, 1e-9))
    return (0.4 * swell * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def write_wave(
    path: Path, samples: np.ndarray, *, rate: int = 16_000, width: int = 2, channels: int = 1
) -> Path:
    """A WAV file of whole numbers; samples ``[n]`` or ``[n, channels]`` from -1 to 1."""
    whole = np.round(samples.astype(np.float64) * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    if width == 1:
        whole = whole + 128
    stored = whole.reshape(-1, 1).astype("<i8").view(np.uint8)[:, :width]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(stored.tobytes())
    return path
