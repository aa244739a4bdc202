"""Audio files become samples: WAV files by the standard library, others by soundfile."""

from __future__ import annotations

import shlex
import wave
from pathlib import Path

import numpy as np

from beamgen.audio.log_mel import Samples
from beamgen.errors import MissingExtraError, PromptError, one_line

#: How whole numbers of so many bytes are laid out; those of one byte have no sign.
_LITTLE_ENDIAN = {1: "<u1", 2: "<i2", 4: "<i4"}


def read_audio(path: Path) -> tuple[Samples, int]:
    """Samples ``[n]`` from -1 to 1, the mean of all channels, and the sampling rate in Hz.

    Raises:
        PromptError: the file is not there, or is no audio.
        MissingExtraError: only soundfile reads it, and that is not installed.
    """
    try:
        with path.open("rb") as stream:
            begins = stream.read(4)
            stream.seek(0)
            if begins == b"RIFF":
                try:
                    return _read_wave(stream)
                except wave.Error as error:
                    if "unknown format" not in str(error):
                        raise ValueError(str(error)) from error
                    # of other numbers than whole ones
    except OSError as error:
        raise PromptError(f"cannot read {path}: {error.strerror}", "check the path") from error
    except (EOFError, ValueError) as error:
        raise _no_audio(path, "the WAV file is cut off or damaged") from error
    return _read_other(path)


def _read_wave(stream: object) -> tuple[Samples, int]:
    with wave.open(stream) as file:  # type: ignore[call-overload] # any file that is open
        width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        stored = file.readframes(file.getnframes())
    if width == 3:  # 24 bits, which NumPy has no type of: the upper three bytes of four
        triples = np.frombuffer(stored, np.uint8).reshape(-1, 3)
        whole = np.pad(triples, ((0, 0), (1, 0))).reshape(-1).view("<i4")
    else:
        whole = np.frombuffer(stored, _LITTLE_ENDIAN[width])
    if width == 1:
        samples = (whole.astype(np.float32) - 128) / np.float32(128)
    else:
        samples = (whole / 2.0 ** (8 * whole.itemsize - 1)).astype(np.float32)
    return _mixed(samples.reshape(-1, channels)), rate


def _read_other(path: Path) -> tuple[Samples, int]:
    try:
        import soundfile
    except ImportError as error:
        if path.suffix.lower() not in {".flac", ".ogg", ".oga", ".mp3", ".opus", ".wav", ".aiff"}:
            raise _no_audio(path, "it does not begin as a WAV file does") from error
        raise MissingExtraError(
            f"reading {path}, which is no WAV file of whole numbers,", "audio", "soundfile"
        ) from error
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except Exception as error:  # libsndfile's, of many kinds
        raise _no_audio(path, one_line(error)) from error
    return _mixed(samples), int(rate)


def _mixed(channels: Samples) -> Samples:
    """One channel ``[n]`` of several ``[n, channels]``."""
    if channels.shape[1] == 1:
        return channels[:, 0]
    mean: Samples = channels.mean(axis=1, dtype=np.float32)
    return mean


def _no_audio(path: Path, reason: str) -> PromptError:
    name = shlex.quote(str(path))
    return PromptError(
        f"{path} is no audio that can be read: {reason}",
        f"convert it: ffmpeg -i {name} -ar 16000 -ac 1 out.wav",
    )
