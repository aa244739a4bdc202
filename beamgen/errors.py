"""The errors beamgen raises: one line of cause, one line of cure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from importlib import metadata

#: A line of a distribution's metadata that one of its extras asks for: package and extra.
_OF_EXTRA = re.compile(r"""([\w.-]+).*\bextra == ['"]([\w-]+)['"]""")


class BeamgenError(Exception):
    """What went wrong, and what to do about it.

    Attributes:
        cause: one line, what was asked and what was found.
        cure: one line, what to do.
    """

    def __init__(self, cause: str, cure: str) -> None:
        """Keep the two lines apart so that every front end can lay them out."""
        super().__init__(f"{cause}\n{cure}")
        self.cause = cause
        self.cure = cure


class AdapterError(BeamgenError):
    """No adapter, two adapters, or an adapter that does not hold the contract."""


class NoAdapterError(AdapterError):
    """No adapter goes by a name."""


class DecoderFileError(BeamgenError):
    """A decoder that somebody else exported, and that no search can be built around."""


class CheckpointError(BeamgenError):
    """A checkpoint that cannot be found, read, or does not fit the request."""


class SettingError(BeamgenError):
    """A generation setting that is impossible, contradictory or not supported yet."""


class RulesError(BeamgenError):
    """A transformers is installed whose ``generate`` follows other rules, or unknown ones."""


class PromptError(BeamgenError):
    """A prompt the model cannot be given."""


class LoraError(BeamgenError):
    """A LoRA that cannot be read, or does not fit the model it is meant for."""


class PackageError(BeamgenError):
    """A package folder that is missing, damaged, edited or of another schema."""


class TrainingDataError(BeamgenError):
    """Rows that cannot be learned; the message names the file and the lines."""


class InputError(BeamgenError):
    """A file of prompts that cannot be read as one."""


class BatchError(BeamgenError):
    """A folder of answers that belongs to another job, or a job that cannot go on."""


class JobError(BeamgenError):
    """A process of the benchmark that gave no result; a table shows the cause."""


class BeamgenWarning(UserWarning):
    """What a caller should know of, of a result that is there all the same."""


class MissingExtraError(BeamgenError):
    """A command that needs an optional dependency which is not installed."""

    def __init__(self, what: str, extra: str, missing: str) -> None:
        """Name the pip command that installs ``extra``."""
        super().__init__(
            f"{what} needs the package '{missing}', which is not installed",
            f"pip install 'beamgen[{extra}]'",
        )


def missing_module(error: BaseException | None) -> str | None:
    """The module whose absence an error comes from, whatever was made of it since, or None."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError):
            return error.name
        error = error.__cause__ or error.__context__
    return None


def extras() -> dict[str, list[str]]:
    """The extras of beamgen's, and which packages each brings."""
    brought: dict[str, list[str]] = {}
    for found in map(_OF_EXTRA.match, metadata.requires("beamgen") or ()):
        if found:
            brought.setdefault(found[2], []).append(found[1])
    return brought


def extra_with(package: str) -> str | None:
    """Which extra of beamgen's brings a package, with as little else as can be, or None."""
    bringing = {name: packages for name, packages in extras().items() if package in packages}
    return min(bringing, key=lambda name: len(bringing[name]), default=None)


def one_line(error: BaseException, limit: int = 300) -> str:
    """The first line of another library's message, for a one-line cause.

    With the next, where the first is but its heading.
    """
    text = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = text[0] if text else type(error).__name__
    if line.endswith(":") and len(text) > 1:
        line = f"{line} {text[1]}"
    return line if len(line) <= limit else line[: limit - 1] + "…"


def close_matches(asked: str, known: Iterable[str]) -> str:
    """'did you mean A or B?', or '' when nothing is near.

    Case is ignored, because ``biogptmodel`` is a likely slip for ``BioGptModel``.
    """
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(asked.lower(), by_lower, n=3, cutoff=0.6)
    if not near:
        return ""
    return f"did you mean {' or '.join(by_lower[name] for name in near)}?"
