"""What is to be timed, once everything that was named has been found and checked."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from beamgen.bench.contestant import YARDSTICK, Contestant
from beamgen.bench.discovery import contestants
from beamgen.bench.workload import Conditions, Workload
from beamgen.bench.workspace import Workspace
from beamgen.disk import local
from beamgen.errors import MissingExtraError, SettingError, close_matches
from beamgen.export.options import check_options

#: Everybody, also those that are not installed.
ALL = "all"


class BenchOptions(TypedDict, total=False):
    """The keyword arguments of ``bench``; ``BenchRequest`` is what becomes of them.

    Attributes:
        shape: without a model: random weights in the shape of that adapter's
            ``full_config``; by default the smallest.
        against: names of contestants, see ``CONTESTANTS``; ``all`` for everybody; by
            default those that are installed. transformers, the yardstick, always runs.
        workloads: prompt + new tokens; by default one, ``64+64``.
        num_beams: K; by default 5.
        batch_size: B, prompts of one length; by default 1.
        threads: of every contestant; by default all cores there are.
        turns: processes per contestant and workload; by default 3.
        runs: timed searches per process; by default 3.
        seed: of the prompts; by default 0.
        trust_remote_code: run Python code that comes with the checkpoint.
        ignore_unread: see ``beamgen.export.request.ExportOptions``.
        workdir: keep what is made of the model there, for a bench to come. Remove it when
            a package that makes the files has changed.
        timeout: seconds that any one process may take; by default 3600.
        busy: everybody searches once more in each turn, while other processes keep so many
            cores busy; by default 0.
        command: what the report says it was called with; by default ``sys.argv``.
    """

    shape: str | None
    against: Sequence[str] | None
    workloads: Sequence[str | Workload]
    num_beams: int
    batch_size: int
    threads: int | None
    turns: int
    runs: int
    seed: int
    trust_remote_code: bool
    ignore_unread: Collection[str]
    workdir: str | os.PathLike[str] | None
    timeout: float
    busy: int
    command: Sequence[str]


@dataclass(frozen=True)
class BenchRequest:
    """Everything that decides what a bench times.

    Attributes:
        model: checkpoint folder or hub id, or None for random weights.
        shape: the adapter whose shape these have, or None for the smallest.
        contestants: who runs, the yardstick first.
        workloads: what they search.
        conditions: beams, rows, threads, turns, runs, seed, timeout.
        trust_remote_code: run Python code that comes with the checkpoint.
        ignore_unread: names of what of the checkpoint may stay unread.
        workdir: where the contestants' files are kept, or None for a temporary folder.
        command: what the report says it was called with.
        named: whether contestants were named, and are not just those that there are.
    """

    model: str | None
    shape: str | None
    contestants: tuple[Contestant, ...]
    workloads: tuple[Workload, ...]
    conditions: Conditions
    trust_remote_code: bool
    ignore_unread: tuple[str, ...]
    workdir: Path | None
    command: tuple[str, ...]
    named: bool = False

    def for_model(self, workspace: Workspace) -> BenchRequest:
        """Without contestants that do not run such a model, unless they were named."""
        if self.named:
            return self
        running = tuple(each for each in self.contestants if each.runs(workspace))
        return replace(self, contestants=running)


def bench_request(model: str | os.PathLike[str] | None, options: BenchOptions) -> BenchRequest:
    """Find what ``bench`` was asked for, and refuse what cannot be timed.

    Raises:
        TypeError: ``bench`` has no such option.
        MissingExtraError, SettingError: see ``bench``.
    """
    check_options("bench", options, BenchOptions)
    conditions = Conditions.from_options(options)
    workloads = _workloads(options.get("workloads", ("64+64",)))
    chosen = _choose(options.get("against"))
    shape = options.get("shape")
    if model is not None and shape is not None:
        raise SettingError("both a model and a shape were given", "leave out one of them")
    workdir = options.get("workdir")
    return BenchRequest(
        model=None if model is None else os.fspath(model),
        shape=shape,
        contestants=chosen,
        workloads=workloads,
        conditions=conditions,
        trust_remote_code=options.get("trust_remote_code", False),
        ignore_unread=tuple(options.get("ignore_unread", ())),
        workdir=None if workdir is None else local(workdir).resolve(),
        command=tuple(options.get("command") or sys.argv),
        named=options.get("against") is not None,
    )


def _workloads(asked: Sequence[str | Workload]) -> tuple[Workload, ...]:
    """The workloads asked for, each once."""
    parsed = [each if isinstance(each, Workload) else Workload.parse(each) for each in asked]
    if not parsed:
        raise SettingError("there is no workload", "name one, such as 64+64")
    return tuple(dict.fromkeys(parsed))


def _choose(against: Sequence[str] | None) -> tuple[Contestant, ...]:
    """The contestants that run: the yardstick, then the others in the order they are listed."""
    known = contestants()
    for missing in known[YARDSTICK].missing:
        raise MissingExtraError("beamgen bench", "export", missing)
    unknown = [name for name in against or () if name not in known and name != ALL]
    if unknown:
        raise SettingError(
            f"there is no contestant called {', '.join(map(repr, unknown))}",
            close_matches(unknown[0], known) or f"there are {', '.join(known)}",
        )
    if against is None:
        return tuple(each for each in known.values() if each.name == YARDSTICK or not each.missing)
    names = set(known) if ALL in against else {*against, YARDSTICK}
    return tuple(each for each in known.values() if each.name in names)
