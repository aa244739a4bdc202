"""All contestants there are: those that the modules of ``contestants`` list."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import ModuleType

from beamgen.bench import contestants as package
from beamgen.bench.contestant import YARDSTICK, Contestant, Preparation


@cache
def contestants() -> Mapping[str, Contestant]:
    """All contestants by name: the yardstick, ours, then the others."""
    found = [each for module in _modules() for each in module.CONTESTANTS]
    found.sort(key=lambda each: (each.name != YARDSTICK, not each.ours))
    return {each.name: each for each in found}


@cache
def preparations() -> Mapping[str, Preparation]:
    """All preparations by name, which is also that of the folder they fill."""
    return {name: make for module in _modules() for name, make in module.PREPARATIONS.items()}


def _modules() -> list[ModuleType]:
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


#: Names of all contestants.
CONTESTANTS = tuple(contestants())
