"""What a contestant of the bench is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace
from beamgen.runtime.machine import version

#: Prompts ``[B, S]``, or float32 features, and how many new tokens -> the new tokens of each row's
#: best hypothesis.
Search = Callable[[Any, int], list[list[int]]]
#: Writes what a contestant loads into a folder that is not there yet.
Preparation = Callable[[Workspace, Path], None]

#: Whose tokens the others have to give, and who always runs.
YARDSTICK = "transformers"


@dataclass(frozen=True)
class Contestant:
    """Something that runs the search.

    Attributes:
        name: in ``--against`` and in the table.
        load: gives the search; what it takes is the load time.
        needs: preparations, in order; the last one's files are what is loaded.
        requires: distributions that have to be installed.
        transformers: the only release of it that the contestant runs with, or None.
        precision: ``float32`` has to give the yardstick's tokens. ``default`` computes in
            what the library chooses, ``int8`` and ``int4`` have weights of their own.
        ours: one of beamgen's.
        encoders: whether it runs encoder-decoders as well.
        hearing: and those whose encoder reads features.
    """

    name: str
    load: Callable[[Workspace, Task], Search]
    needs: tuple[str, ...]
    requires: tuple[str, ...]
    transformers: str | None = None
    precision: str = "float32"
    ours: bool = False
    encoders: bool = False
    hearing: bool = False

    def runs(self, workspace: Workspace) -> bool:
        """Whether it runs such a model."""
        if workspace.features is not None:
            return self.hearing
        return self.encoders or not workspace.has_encoder

    @property
    def missing(self) -> list[str]:
        """What pip has to install."""
        missing = [name for name in self.requires if version(name) is None]
        wanted, found = self.transformers, version("transformers") or ""
        if wanted is not None and not found.startswith(f"{wanted}."):
            missing.append(f"'transformers=={wanted}.*'")
        return missing
