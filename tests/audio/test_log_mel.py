"""Spectrograms against HF's feature extractor."""

from __future__ import annotations

import numpy as np
import pytest
from support.waves import tone
from transformers import WhisperFeatureExtractor

from beamgen.audio.log_mel import LogMel

SHAPES = {
    "of 2022": {},
    "large-v3": {"feature_size": 128},
    "other": {"feature_size": 24, "chunk_length": 2, "n_fft": 512, "hop_length": 128},
    "odd": {"feature_size": 20, "chunk_length": 1, "sampling_rate": 22_050, "n_fft": 401},
}


def _clips(longest: int) -> list[np.ndarray]:
    noise = np.random.default_rng(0).normal(size=longest).astype(np.float32)
    return [tone(0.7), noise[: longest // 3], 0.01 * noise, noise[:1], np.zeros(5, np.float32)]


@pytest.mark.parametrize("name", SHAPES)
def test_features_are_those_of_hfs_numpy_code_to_the_bit(name: str) -> None:
    theirs, ours = WhisperFeatureExtractor(**SHAPES[name]), LogMel(**SHAPES[name])
    clips = _clips(ours.longest)
    padded = np.stack([np.pad(clip, (0, ours.longest - len(clip))) for clip in clips])
    expected = theirs._np_extract_fbank_features(padded, "cpu")
    found = ours.features(clips)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", ["of 2022", "large-v3"])
def test_features_are_those_of_hfs_torch_code_but_for_rounding(name: str) -> None:
    """Which it takes where torch is installed."""
    theirs, ours = WhisperFeatureExtractor(**SHAPES[name]), LogMel(**SHAPES[name])
    clips = _clips(ours.longest)
    expected = theirs(clips, sampling_rate=ours.sampling_rate, return_tensors="np").input_features
    assert np.abs(ours.features(clips) - expected).max() < 1e-4  # of some -1.5 to 1.5
