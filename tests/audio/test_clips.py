"""What a caller gives as audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.waves import tone, write_wave

from beamgen import BeamgenError
from beamgen.audio.clips import as_clips, samples_of
from beamgen.audio.log_mel import LogMel

EXTRACTOR = LogMel(chunk_length=1)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ("a.wav", 1),
        (Path("a.wav"), 1),
        (["a.wav", Path("b.wav")], 2),
        (tone(), 1),
        ([tone(), tone(0.2)], 2),
        (np.stack([tone(), tone()]), 2),
        ([0.0, 0.5, -0.5], 1),
        ({"array": tone(), "sampling_rate": 16_000}, 1),
        ([{"array": tone(), "sampling_rate": 16_000}] * 3, 3),
        ([], 0),
    ],
    ids=lambda each: type(each).__name__,
)
def test_one_clip_or_several(given, count: int) -> None:
    assert len(as_clips(given)) == count


def test_every_form_is_the_same_sound(tmp_path: Path) -> None:
    samples = (tone() * 32768).round().astype(np.float32) / 32768
    path = write_wave(tmp_path / "a.wav", samples * 32768 / 32767)
    forms = [str(path), path, samples, samples.astype(np.float64), samples.tolist(),
             {"array": samples, "sampling_rate": 16_000}]  # fmt: skip
    for form in forms:
        (clip,) = as_clips(form)
        assert np.array_equal(samples_of(clip, 16_000, EXTRACTOR), samples)


@pytest.mark.parametrize(
    ("given", "rate", "cause", "cure"),
    [
        (tone(), None, "without their sampling rate", "pass sampling_rate=16000"),
        (tone(), 44_100, "audio has 44100 samples a second, and the model hears 16000", "resample"),
        (tone(1.5), 16_000, "audio is 1.5 seconds long, and the model hears 1", "16000 samples"),
        (np.zeros(0), 16_000, "audio is empty", "record it again"),
        (np.array([0.0, np.nan]), 16_000, "samples that are no numbers", "where it is from"),
        ((tone() * 1000).astype(np.int16), 16_000, "given as int16", "samples / 32768"),
        (np.zeros((2, 3)), 16_000, r"float64 of shape \[2, 3\]", "float32 samples"),
        (np.array(["a"]), 16_000, "<U1 of shape", "float32 samples"),
        ({"sampling_rate": 16_000}, None, "object of shape", "float32 samples"),
        ({"array": tone(), "sampling_rate": 8_000}, None, "8000 samples a second", "resample"),
        ([[0.0], [0.0, 1.0]], 16_000, "a list of lists", "float32 samples"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_what_cannot_be_heard_is_told(given, rate, cause, cure) -> None:
    with pytest.raises(BeamgenError, match=cause) as error:
        samples_of(given, rate, EXTRACTOR)
    assert cure in error.value.cure


@pytest.mark.parametrize("given", [5, None, object()], ids=["int", "None", "object"])
def test_what_is_no_audio_is_told(given) -> None:
    with pytest.raises(BeamgenError, match="audio is given as") as error:
        as_clips(given)
    assert "paths of WAV files" in error.value.cure


def test_a_file_that_cannot_be_heard_is_named_in_what_mends_it(tmp_path: Path) -> None:
    for name, samples, rate, cure in (
        ("a b.wav", tone(rate=8000), 8000, f"ffmpeg -i '{tmp_path}/a b.wav' -ar 16000 -ac 1"),
        ("long.wav", tone(1.5), 16_000, f"ffmpeg -i {tmp_path}/long.wav -f segment"),
    ):
        path = write_wave(tmp_path / name, samples, rate=rate)
        with pytest.raises(BeamgenError) as error:
            samples_of(path, None, EXTRACTOR)
        assert str(path) in error.value.cause
        assert cure in error.value.cure
