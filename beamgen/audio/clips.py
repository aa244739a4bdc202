"""What a caller gives as audio, and what no encoder can hear."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from beamgen.audio.log_mel import LogMel, Samples
from beamgen.audio.read import read_audio
from beamgen.disk import local
from beamgen.errors import PromptError

_FORMS = "pass paths of WAV files, or float32 samples [n] with sampling_rate"


def as_clips(given: Any) -> list[Any]:
    """One clip or several: paths, samples ``[n]``, or HF's ``{"array": x, "sampling_rate": r}``.

    Raises:
        PromptError: it is something else, or nothing.
    """
    if isinstance(given, str | os.PathLike | Mapping):
        return [given]
    if isinstance(given, np.ndarray):
        return [given] if given.ndim == 1 else list(given)
    if not isinstance(given, Sequence):
        raise PromptError(f"audio is given as {type(given).__name__}", _FORMS)
    if given and all(isinstance(x, int | float | np.number) for x in given):
        return [np.asarray(given, np.float32)]
    return list(given)


def samples_of(clip: Any, sampling_rate: int | None, extractor: LogMel) -> Samples:
    """The samples ``[n]`` of one clip, as the extractor takes them.

    Args:
        clip: see ``as_clips``.
        sampling_rate: of samples, in Hz; a file has its own.
        extractor: the model's.

    Raises:
        PromptError: it cannot be read, is empty, too long, of another rate, or no sound.
    """
    if isinstance(clip, str | os.PathLike):
        path = local(clip)
        samples, rate = read_audio(path)
        name = str(path)
    else:
        if isinstance(clip, Mapping):
            sampling_rate = clip.get("sampling_rate", sampling_rate)
            clip = clip.get("array")
        samples, rate, name = _array(clip), sampling_rate or 0, "audio"
        if not sampling_rate:
            raise PromptError(
                "samples were given without their sampling rate",
                f"pass sampling_rate={extractor.sampling_rate}, if they are so many a second",
            )
    _check(samples, rate, name, extractor)
    return samples


def _array(clip: Any) -> Samples:
    try:
        array = np.asarray(clip)
    except ValueError as error:  # rows of several lengths
        raise PromptError("audio is given as a list of lists", _FORMS) from error
    if array.dtype.kind in "iu" and array.ndim == 1 and array.size:
        raise PromptError(
            f"samples are given as {array.dtype}",
            f"divide them: samples / {2.0 ** (8 * array.itemsize - 1):.0f}",
        )
    if array.dtype.kind not in "fiu" or array.ndim != 1:
        shape = list(array.shape)
        raise PromptError(f"audio is given as {array.dtype} of shape {shape}", _FORMS)
    samples: Samples = array.astype(np.float32)
    return samples


def _check(samples: Samples, rate: int, name: str, extractor: LogMel) -> None:
    """Refuse what the encoder would answer with nonsense."""
    quoted, wanted = shlex.quote(name), extractor.sampling_rate
    is_file = name != "audio"
    if not samples.size:
        raise PromptError(f"{name} is empty: it has no samples", "record it again")
    if rate != wanted:
        raise PromptError(
            f"{name} has {rate} samples a second, and the model hears {wanted}",
            f"convert it: ffmpeg -i {quoted} -ar {wanted} -ac 1 out.wav"
            if is_file
            else f"resample it to {wanted} a second, as librosa.resample does",
        )
    if not np.isfinite(samples).all():
        raise PromptError(f"{name} holds samples that are no numbers", "look at where it is from")
    if samples.size > extractor.longest:
        seconds, most = samples.size / rate, extractor.chunk_length
        raise PromptError(
            f"{name} is {seconds:.1f} seconds long, and the model hears {most} at a time",
            f"cut it: ffmpeg -i {quoted} -f segment -segment_time {most} part-%03d.wav"
            if is_file
            else f"pass it in pieces of {extractor.longest} samples or less",
        )
