"""Log-mel spectrograms, HF's ``WhisperFeatureExtractor``.

Its NumPy code is followed step by step, to equal bits; its code for torch, which it takes where
that is installed, differs from it by float32's rounding.

Source: ``transformers/models/whisper/feature_extraction_whisper.py``,
``transformers/audio_utils.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
_Floats = npt.NDArray[np.float64]

_HIGHEST = 8000.0  # Hz, whatever the sampling rate
_FLOOR = 1e-10  # power below which there is silence
_DECADES = 8.0  # below the loudest
#: Of Slaney's scale, which is linear up to a frequency.
_LINEAR_HZ, _LINEAR_MEL, _STEP = 1000.0, 15.0, np.log(6.4) / 27.0


@dataclass(frozen=True)
class LogMel:
    """The fields of a ``preprocessor_config.json``, with HF's defaults.

    Attributes:
        feature_size: bands.
        sampling_rate: Hz.
        hop_length: samples from frame to frame.
        chunk_length: seconds, to which all audio is padded.
        n_fft: samples of a frame.
        padding_value: of samples behind the end.
    """

    feature_size: int = 80
    sampling_rate: int = 16000
    hop_length: int = 160
    chunk_length: int = 30
    n_fft: int = 400
    padding_value: float = 0.0

    @property
    def longest(self) -> int:
        """Samples that it takes."""
        return self.chunk_length * self.sampling_rate

    def features(self, batch: Sequence[Samples]) -> npt.NDArray[np.float32]:
        """Spectrograms ``[B, feature_size, frames]`` of samples ``[n]`` each, padded behind."""
        return np.stack([self._spectrogram(samples) for samples in batch])

    def _spectrogram(self, samples: Samples) -> npt.NDArray[np.float32]:
        padded = np.full(self.longest, self.padding_value, np.float32)
        padded[: len(samples)] = samples
        half = self.n_fft // 2
        whole = np.pad(padded, half, mode="reflect").astype(np.float64)
        frames = np.lib.stride_tricks.sliding_window_view(whole, self.n_fft)[:: self.hop_length]
        # rounded to the complex64 in which HF keeps them
        waves = np.fft.rfft(frames * np.hanning(self.n_fft + 1)[:-1]).astype(np.complex64)
        power = np.abs(waves, dtype=np.float64).T ** 2.0
        heard = np.log10(np.maximum(_FLOOR, self._filters.T @ power)).astype(np.float32)[:, :-1]
        heard = np.maximum(heard, heard.max() - _DECADES)
        scaled: npt.NDArray[np.float32] = (heard + 4.0) / 4.0
        return scaled

    @cached_property
    def _filters(self) -> _Floats:
        """The triangles of the bands, ``[1 + n_fft // 2, feature_size]``.

        Source: ``mel_filter_bank`` with the scale and the norm called ``slaney``.
        """
        ends = np.linspace(0.0, float(_to_mel(_HIGHEST)), self.feature_size + 2)
        centers = _to_hertz(ends)
        bins = np.linspace(0, self.sampling_rate // 2, 1 + self.n_fft // 2)
        widths, slopes = np.diff(centers), centers[None, :] - bins[:, None]
        down, up = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
        triangles = np.maximum(np.zeros(1), np.minimum(down, up))
        areas: _Floats = 2.0 / (centers[2:] - centers[:-2])
        filters: _Floats = triangles * areas[None, :]
        return filters


def _to_mel(hertz: float) -> float:
    """Of a frequency in the logarithmic part."""
    mel: float = _LINEAR_MEL + np.log(hertz / _LINEAR_HZ) * (27.0 / np.log(6.4))
    return mel


def _to_hertz(mels: _Floats) -> _Floats:
    hertz = 200.0 * mels / 3.0
    above = mels >= _LINEAR_MEL
    hertz[above] = _LINEAR_HZ * np.exp(_STEP * (mels[above] - _LINEAR_MEL))
    return hertz
