"""Who searches, one module for each library; its name in ``--against``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.bench.machine import version
from beamgen.bench.workload import Task
from beamgen.bench.workspace import Workspace

if TYPE_CHECKING:
    from beamgen.settings.prompts import Ids

#: Prompts ``[B, S]`` and how many new tokens -> the new tokens of each row's best hypothesis.
Search = Callable[["Ids", int], list[list[int]]]
#: Writes what a contestant loads into a folder that is not there yet.
Preparation = Callable[[Workspace, Path], None]

#: Whose tokens the others have to give, and who always runs.
YARDSTICK = "transformers"


@dataclass(frozen=True)
class Contestant:
    """What each module of this package lists as ``CONTESTANTS``.

    Attributes:
        name: in ``--against`` and in the table.
        load: gives the search; what it takes is the load time.
        needs: preparations, in order; the last one's files are what is loaded.
        requires: distributions that have to be installed.
        precision: ``float32`` has to give the yardstick's tokens. ``default`` computes in
            what the library chooses, ``int8`` and ``int4`` have weights of their own.
        ours: one of beamgen's.
    """

    name: str
    load: Callable[[Workspace, Task], Search]
    needs: tuple[str, ...]
    requires: tuple[str, ...]
    precision: str = "float32"
    ours: bool = False

    @property
    def missing(self) -> list[str]:
        """Distributions that are not installed."""
        return [name for name in self.requires if version(name) is None]


def _modules() -> list[Any]:
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return [
        importlib.import_module(f"{__name__}.{name}") for name in names if not name.startswith("_")
    ]


@cache
def contestants() -> Mapping[str, Contestant]:
    """All by name: the yardstick, ours, then the others."""
    found = [each for module in _modules() for each in module.CONTESTANTS]
    found.sort(key=lambda each: (each.name != YARDSTICK, not each.ours))
    return {each.name: each for each in found}


@cache
def preparations() -> Mapping[str, Preparation]:
    """All by name, which is the folder's, too."""
    return {name: make for module in _modules() for name, make in module.PREPARATIONS.items()}


#: Names of all contestants.
CONTESTANTS: tuple[str, ...]


def __getattr__(name: str) -> Any:
    """``CONTESTANTS``, once this module can be imported by its own."""
    if name != "CONTESTANTS":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return tuple(contestants())
