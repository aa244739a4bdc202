"""A package whose encoder hears: audio becomes features, and a language and a task a prompt."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.audio.clips import as_clips, samples_of
from beamgen.audio.extractor import read_extractor
from beamgen.errors import CheckpointError, PromptError, SettingError
from beamgen.package.folder import Package
from beamgen.seq2seq_adapter import TaskTokens
from beamgen.settings.config import SearchConfig
from beamgen.settings.sources import FeatureBatch
from beamgen.settings.task_prompt import asks_for_language, check_task, task_prompt

#: A clip in any of its forms: a path, samples ``[n]``, or HF's table of samples and their rate.
Audio = str | os.PathLike[str] | npt.NDArray[np.floating[Any]] | Mapping[str, Any]
Language = str | Sequence[str] | None

#: Gives the ids of the languages that are spoken in some rows of the sources.
Detect = Callable[[Sequence[int]], Sequence[int]]


def heard(package: Package, given: Any, sampling_rate: int | None) -> FeatureBatch:
    """What the encoder of a package reads, of audio in any of its forms, or of features.

    Raises:
        PromptError, CheckpointError: see ``Generator.generate``.
    """
    features = package.manifest.features
    assert features is not None, "its encoder reads text"
    if isinstance(given, FeatureBatch):
        return given
    clips = as_clips(given)
    if not clips:
        raise PromptError("no audio was given", "pass at least one clip")
    extractor = read_extractor(package.folder)
    name, sizes = features
    makes = (extractor.feature_size, extractor.longest // extractor.hop_length)
    if makes != sizes:
        raise CheckpointError(
            f"the feature extractor of {package.folder} makes {list(makes)}, and the encoder reads "
            f"{list(sizes)}",
            "use the preprocessor_config.json that belongs to the checkpoint",
        )
    samples = [samples_of(clip, sampling_rate, extractor) for clip in clips]
    return FeatureBatch(name, extractor.features(samples))


def refuse_of_speech(
    package: Package, language: Language, task: str | None, sampling_rate: int | None
) -> None:
    """Refuse what is said of audio for a package that reads text.

    Raises:
        SettingError, PromptError: it is.
    """
    check_task(None, None if language is None else str(language), task)
    if sampling_rate is not None:
        raise PromptError(
            f"a sampling rate was given, and {package.folder} reads text", "leave it out"
        )


def refuse_fallback(settings: Mapping[str, Any]) -> None:
    """Refuse several temperatures for one clip, as HF's ``generate`` takes them there.

    Raises:
        SettingError: there are such.
    """
    temperature = settings.get("temperature")
    if isinstance(temperature, list | tuple) and not settings.get("do_sample"):
        raise SettingError(
            "a file cannot honour several temperatures: searching again at others is a loop around "
            "the search",
            "leave them out; with do_sample each clip may have its own",
        )


def spoken_prompts(
    package: Package,
    rows: int,
    language: Language,
    task: str | None,
    *,
    return_timestamps: bool,
    detect: Detect,
) -> list[list[int]]:
    """The decoder prompts of so many rows, as ``generate`` makes them of a language and a task.

    Raises:
        SettingError: the model has no such language or task, or there is not one for each row.
    """
    encoder = package.manifest.encoder
    assert encoder is not None, "a decoder alone has no sources"
    start, tokens = encoder.decoder_start_token_id, encoder.tasks
    languages = [language] * rows if language is None or isinstance(language, str) else [*language]
    if len(languages) != rows:
        raise SettingError(
            f"{len(languages)} languages were given for {rows} clips",
            "give one for all of them, or one for each",
        )
    for each in languages:
        check_task(tokens, each, task)
    if tokens is None:
        return [[start]] * rows
    unknown = [row for row, each in enumerate(languages) if asks_for_language(tokens, each, task)]
    found = dict(zip(unknown, detect(unknown), strict=True)) if unknown else {}
    return [
        task_prompt(
            tokens,
            start,
            language=each,
            task=task,
            return_timestamps=return_timestamps,
            detected=found.get(row),
        )
        for row, each in enumerate(languages)
    ]


def detecting(search: SearchConfig, tokens: TaskTokens, vocab_size: int) -> SearchConfig:
    """The search of one token behind the start that is the likeliest language.

    Source: ``WhisperGenerationMixin.detect_language``.
    """
    others = np.setdiff1d(np.arange(vocab_size), list(tokens.languages.values()))
    return SearchConfig(
        search.eos_token_id,
        search.pad_token_id,
        num_beams=1,
        max_new_tokens=1,
        suppress_tokens=tuple(others.tolist()),
    )
