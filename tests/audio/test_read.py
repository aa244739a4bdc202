"""Audio files become samples."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from support.waves import tone, write_wave

from beamgen import BeamgenError
from beamgen.audio.read import read_audio


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_whole_numbers_of_any_width(width: int, tmp_path: Path) -> None:
    samples = tone()
    found, rate = read_audio(write_wave(tmp_path / "a.wav", samples, width=width))
    assert (found.dtype, rate) == (np.float32, 16_000)
    assert np.abs(found - samples).max() <= 1.01 / 2 ** (8 * width - 1) + 1e-7


def test_sixteen_bits_are_divided_by_a_power_of_two(tmp_path: Path) -> None:
    """As soundfile and librosa read them, to the bit."""
    stored = np.array([-32768, -1, 0, 1, 32767], np.int16)
    path = write_wave(tmp_path / "a.wav", np.zeros(5))
    path.write_bytes(path.read_bytes()[:-10] + stored.tobytes())
    found, _ = read_audio(path)
    assert found.tolist() == (stored / 32768).tolist()


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(), tone(pitch=450)
    both = np.stack([left, right], axis=1)
    found, rate = read_audio(write_wave(tmp_path / "a.wav", both, channels=2, rate=8000))
    assert rate == 8000
    assert np.abs(found - both.mean(axis=1)).max() < 1e-4


def _float_wave(path: Path, samples: np.ndarray) -> Path:
    data = samples.astype("<f4").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, 1,
                       16_000, 64_000, 4, 32)  # fmt: skip
    path.write_bytes(head + struct.pack("<4sI", b"data", len(data)) + data)
    return path


def test_what_is_no_plain_wave_file_goes_to_soundfile(tmp_path: Path, monkeypatch) -> None:
    samples = tone()

    class Soundfile:
        @staticmethod
        def read(path, dtype, always_2d):
            assert (dtype, always_2d) == ("float32", True)
            return samples[:, None], 16_000

    monkeypatch.setitem(sys.modules, "soundfile", Soundfile)
    found, rate = read_audio(_float_wave(tmp_path / "a.wav", samples))
    assert rate == 16_000
    assert np.array_equal(found, samples)


def test_where_soundfile_is_missing_it_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.flac").write_bytes(b"fLaC....")
    for path in (_float_wave(tmp_path / "a.wav", tone()), tmp_path / "a.flac"):
        with pytest.raises(BeamgenError, match="'soundfile', which is not installed") as error:
            read_audio(path)
        assert error.value.cure == "pip install 'beamgen[audio]'"


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("none.wav", None, "cannot read .*: No such file"),
        ("a.txt", b"hello", "no audio that can be read: it does not begin as a WAV file does"),
        ("a.wav", b"RIFF", "cut off or damaged"),
        ("b.wav", b"RIFF\x10\x00\x00\x00WAVE", "cut off or damaged"),
        ("a b.mp3", b"\x00" * 40, "no audio that can be read: not this"),
    ],
)
def test_what_is_no_audio_is_told(name, content, cause, tmp_path: Path, monkeypatch) -> None:
    class Soundfile:
        @staticmethod
        def read(path, dtype, always_2d):
            raise RuntimeError("not this")

    monkeypatch.setitem(sys.modules, "soundfile", Soundfile if name.endswith("mp3") else None)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BeamgenError, match=cause) as error:
        read_audio(tmp_path / name)
    assert error.value.cure
