"""Cases of audio that a caller names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from beamgen.errors import PromptError
from beamgen.parity.report import ParityCase
from beamgen.runtime.generator import Generator
from beamgen.runtime.speech import heard


def audio_cases(generator: Generator, audio: Sequence[Any]) -> list[ParityCase]:
    """The package's own settings, all hypotheses returned, on each clip.

    Args:
        generator: of a package whose encoder hears.
        audio: clips as ``Generator.generate`` takes them.

    Raises:
        PromptError: its encoder reads text, or cannot hear a clip.
    """
    package = generator.package
    if package.manifest.features is None:
        raise PromptError(
            f"{package.folder} reads text, and was given audio", "pass prompts instead"
        )
    search = package.manifest.search
    config = replace(search, num_return_sequences=search.num_beams)
    source, timed = heard(package, audio, None), search.return_timestamps
    prompts = generator.spoken_prompts(source, return_timestamps=timed)
    return [
        ParityCase(
            f"audio {row + 1}", (tuple(prompt),), len(prompt), config, features=source.row(row)
        )
        for row, prompt in enumerate(prompts)
    ]
