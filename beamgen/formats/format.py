"""The types that all formats share, and the names of all formats."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Names of all formats: the folders beside this file.
FORMATS = tuple(
    sorted(
        found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)]) if found.ispkg
    )
)


@dataclass(frozen=True)
class Check:
    """A comparison of something written with what it has to equal.

    Attributes:
        what: was compared with what, by which consumer of which version.
        passed: None where nothing was compared: ``what`` gives the reason, or what is
            otherwise than in the package.
    """

    what: str
    passed: bool | None


@dataclass(frozen=True)
class Format:
    """The way to write packages for one program: the ``FORMAT`` of a folder's module ``format``.

    Its command on the command line is the ``command`` of the module beside that one: a
    click command with the options of this format alone, which returns the keyword
    arguments of ``write``. Where it has a parameter ``settings``, the command line
    adds the search settings, and hands over those that were given.

    Attributes:
        title: of the thing written, with its article left out: "Triton model".
        mark: a file of ours that every folder of this kind holds, named ``beamgen-*.json``;
            the checks stand in it, unless ``write`` wrote it.
        output: the folder that is written unless another is named; ``{name}`` is that
            of the package without ``-onnx``.
        options: a ``TypedDict`` of the keyword arguments of ``write``.
        write: ``write(package, folder, say, target=..., **options)`` fills an empty folder and
            returns its checks. The folder will be called ``target``.
        after: commands and hints that come next, for the folder written.
        reads_text: it takes packages of encoder-decoders that read text, too.
    """

    title: str
    mark: str
    output: str
    options: type
    write: Callable[..., Sequence[Check]]
    after: Callable[[Path], Sequence[str]]
    reads_text: bool = False


@dataclass(frozen=True)
class Packaged:
    """A folder that was written in some format.

    Attributes:
        folder: where it is.
        format: its name, one of ``FORMATS``.
        checks: what it was compared with.
        after: commands and hints that come next.
    """

    folder: Path
    format: str
    checks: Sequence[Check]
    after: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """3 where a check failed, else 0."""
        return 3 if any(check.passed is False for check in self.checks) else 0
