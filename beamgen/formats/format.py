"""What each format's folder defines as ``FORMAT``, and what comes of writing one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from beamgen.settings.config import SearchConfig


@dataclass(frozen=True)
class Check:
    """One comparison of what was written with what it has to equal.

    Attributes:
        what: was compared with what, by which consumer of which version.
        passed: None where nothing was compared: ``what`` says why, or what is otherwise
            than in the package.
    """

    what: str
    passed: bool | None


@dataclass(frozen=True)
class Format:
    """What each module of this package defines as ``FORMAT``.

    Attributes:
        title: of the thing written, with its article left out: "Triton model".
        mark: a file of ours that every folder of this kind holds; the checks stand in it,
            unless ``write`` wrote it.
        output: the folder that is written unless another is named; ``{name}`` is that
            of the package without ``-onnx``.
        write: ``write(package, folder, say, **options)`` fills an empty folder and returns
            its checks. ``folder.name`` is not yet the final name: ``target`` is passed, too.
        after: commands and hints that come next, for the folder written.
    """

    title: str
    mark: str
    output: str
    write: Callable[..., Sequence[Check]]
    after: Callable[[Path], Sequence[str]]


@dataclass(frozen=True)
class Packaged:
    """A folder that was written in some format."""

    folder: Path
    format: str
    checks: Sequence[Check]
    after: Sequence[str] = field(default_factory=tuple)

    @property
    def exit_code(self) -> int:
        """3 where a check failed, else 0."""
        return 3 if any(check.passed is False for check in self.checks) else 0


def trial_length(search: SearchConfig, tokens: int) -> int:
    """``max_new_tokens`` for a check, of some tokens more than the package's least."""
    return tokens + max(search.min_new_tokens or 0, search.min_length)
