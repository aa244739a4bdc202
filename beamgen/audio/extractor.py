"""The feature extractor beside a checkpoint's weights, or in a package."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from beamgen.audio.log_mel import LogMel
from beamgen.errors import CheckpointError, one_line

#: Where HF stores it: by itself, or, since version 5, within the processor's config.
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
_WITHIN, _TYPE = "feature_extractor", "feature_extractor_type"
_KNOWN = "WhisperFeatureExtractor"

_CURE = "compute features with transformers, and pass FeatureBatch(name, array) as the source"


def extractor_files(folder: Path) -> list[Path]:
    """The files that say what it is, relative to the folder."""
    return [Path(name) for name in (PREPROCESSOR, PROCESSOR) if (folder / name).is_file()]


def read_extractor(folder: Path) -> LogMel:
    """The feature extractor of a folder.

    Raises:
        CheckpointError: there is none, or one that is not known here.
    """
    values = _stored(folder)
    if values is None:
        raise CheckpointError(f"{folder} has no {PREPROCESSOR}", _CURE)
    kind = values.get(_TYPE)
    if kind != _KNOWN:
        raise CheckpointError(f"{PREPROCESSOR} of {folder} names {kind!r:.60}", _CURE)
    if values.get("dither"):
        raise CheckpointError(
            f"{PREPROCESSOR} of {folder} asks for dither, which is noise drawn anew each time",
            "set dither to 0.0 there",
        )
    given = {f.name: values[f.name] for f in dataclasses.fields(LogMel) if f.name in values}
    wrong = [name for name, value in given.items() if not _is_possible(name, value)]
    if wrong:
        raise CheckpointError(
            f"{PREPROCESSOR} of {folder} has {wrong[0]} {given[wrong[0]]!r:.40}",
            "download the checkpoint again",
        )
    return LogMel(**given)


def read_or_reason(folder: Path) -> tuple[LogMel | None, str | None]:
    """The feature extractor of a folder, or why there is none, in one line."""
    try:
        return read_extractor(folder), None
    except CheckpointError as error:
        return None, error.cause


def _stored(folder: Path) -> dict[str, Any] | None:
    """Its values, from whichever file has them."""
    try:
        for name in (PREPROCESSOR, PROCESSOR):
            if not (folder / name).is_file():
                continue
            values = json.loads((folder / name).read_text(encoding="utf-8"))
            found = values if _TYPE in values else values.get(_WITHIN)
            if isinstance(found, dict):
                return found
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"cannot read {name} of {folder}: {one_line(error)}", "download the checkpoint again"
        ) from error
    return None


def _is_possible(name: str, value: Any) -> bool:
    if name == "padding_value":
        return isinstance(value, int | float) and abs(value) <= 1
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**24
