"""What ``doctor`` found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


class Level(Enum):
    """How much a finding matters."""

    GOOD = "good"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        level: whether it is well.
        what: was found.
        cure: what to do, where something is to be done.
    """

    level: Level
    what: str
    cure: str | None = None


@dataclass(frozen=True)
class Extra:
    """An extra of beamgen's.

    Attributes:
        name: in brackets behind ``beamgen``.
        missing: its distributions that are not installed.
    """

    name: str
    missing: tuple[str, ...]

    @property
    def install(self) -> str:
        """The command that brings it."""
        return f"pip install 'beamgen[{self.name}]'"


@dataclass(frozen=True)
class Limits:
    """What the system allows this process; None where it sets no limit, or does not tell.

    Attributes:
        memory: bytes of the machine.
        free_memory: bytes that may still be taken, control groups and ``ulimit`` counted.
        open_files: at a time.
        file_bytes: of a file that is written.
        free_disk: bytes in the folder for temporary files.
    """

    memory: int | None
    free_memory: int | None
    open_files: int | None
    file_bytes: int | None
    free_disk: int | None


@dataclass(frozen=True)
class Need:
    """What a package needs for a search, in bytes.

    Attributes:
        folder: of the package.
        rows: prompts searched together, B.
        prompt_tokens: of each, S.
        new_tokens: generated for each at most.
        num_beams: K.
        loaded: once it is loaded, program and libraries included.
        search: by the search itself, at its peak.
        peak: of the process: while it loads, or while it searches.
        most_rows: as many prompts of that kind as have room together; None where the
            system does not tell what is free.
    """

    folder: Path
    rows: int
    prompt_tokens: int
    new_tokens: int
    num_beams: int
    loaded: int
    search: int
    peak: int
    most_rows: int | None


@dataclass(frozen=True)
class Diagnosis:
    """What ``doctor`` found.

    Attributes:
        versions: of Python, beamgen and what it uses; None where it is not installed.
        machine: ``cpu``, ``cores``, ``flags`` (instruction sets), ``system``.
        providers: of the ONNX Runtime that is installed.
        threads: that an operator uses by default.
        limits: see ``Limits``.
        extras: those of users, with what is missing.
        need: of the package that was named.
        findings: what it means, problems first.
    """

    versions: dict[str, str | None]
    machine: dict[str, Any]
    providers: tuple[str, ...]
    threads: int
    limits: Limits
    extras: tuple[Extra, ...]
    need: Need | None = None
    findings: tuple[Finding, ...] = field(default=())

    @property
    def is_well(self) -> bool:
        """Whether there is no problem."""
        return all(finding.level is not Level.PROBLEM for finding in self.findings)
