"""Batches are searched by actors of Ray Data, on this machine or a cluster.

Ray Data holds what is read back until actors are free, starts an actor anew when it dies, and
gives its batch to another. Its own checkpoints are not used: they note identifiers of rows as
files are written by its writers, in whatever order; here the job's shards say what is done.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beamgen.batch.engine import Answered, Done, Event, Opened, still_to_do
from beamgen.batch.job import Job
from beamgen.batch.plan import Batch, Planner
from beamgen.batch.reading.rows import Window
from beamgen.batch.search import search
from beamgen.errors import BatchError, BeamgenError, MissingExtraError, one_line
from beamgen.runtime.machine import available_cores

#: The one column of the data sets: a pickle.
_COLUMN = "pickled"

#: Windows are handed out in so many blocks at most.
_BLOCKS = 1000

#: So many tasks of each actor a window becomes at most: what Ray does for a task takes longer than
#: a small model's batch, and what was done of a task is lost with its actor.
_TASKS = 4

#: Seconds of searching whose answers are handed back together: a task waits up to 0.3 s until Ray
#: has taken a block from it.
_SECONDS = 2.0

#: Seconds without an answer from Ray's head after which it counts as dead.
_HEAD_TIMEOUT = 20


@dataclass(frozen=True)
class OnRay:
    """Where and with how many actors.

    Attributes:
        address: of a cluster that is there; None starts one on this machine, for this job.
        actors: how many; as many as ``cpus`` allow on this machine by default.
        cpus: of each actor, or a part of one; its operators use as many threads.
        gpus: of each actor, or a part of one.
    """

    address: str | None = None
    actors: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0


class RayEngine:
    """The engine of a cluster. All its machines see the package and the input at the same path."""

    def __init__(self, job: Job, on: OnRay) -> None:
        """Start nothing yet.

        Raises:
            MissingExtraError: ray is not installed.
        """
        self._ray = _import_ray()
        self._on = on
        self._actors = on.actors or max(1, int(available_cores() / on.cpus))
        self._threads = max(1, int(on.cpus))
        self._job = job.with_threads(job.runtime.threads or self._threads)

    def describe(self) -> str:
        """See ``Engine``."""
        where = self._on.address or "this machine"
        gpus = f", {self._on.gpus:g} GPUs each" if self._on.gpus else ""
        return f"Ray on {where}, {self._actors} actors of {self._on.cpus:g} CPUs{gpus}"

    def run(self, windows: Iterable[Window], done: Done) -> Iterator[Event]:
        """See ``Engine``.

        Raises:
            BatchError: Ray does not start, or gave up.
        """
        todo = list(windows)
        if not todo:
            return
        begun = {each.index: rows for each in todo if (rows := done(each.index))}
        self._connect()
        try:
            for piece in self._answers(todo, begun).iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for pickled in piece.column(_COLUMN).to_pylist():
                    yield from pickle.loads(pickled)
        except BeamgenError:
            raise
        except Exception as error:  # of Ray, in types of its own
            raise _told(error) from error
        finally:
            self._ray.shutdown()

    def _answers(self, windows: list[Window], begun: Mapping[int, frozenset[int]]) -> Any:
        """The data set of events."""
        from ray import data

        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = 1  # a row is a block, so that actors share a window
        context.target_min_block_size = 1
        items = [{_COLUMN: pickle.dumps(window)} for window in windows]
        return (
            data.from_items(items, override_num_blocks=min(len(items), _BLOCKS))
            .map_batches(
                _Plans,
                batch_size=1,
                batch_format="pyarrow",
                compute=data.ActorPoolStrategy(size=1),
                fn_constructor_args=(self._job, begun, _TASKS * self._actors),
                num_cpus=0,
            )
            .map_batches(
                _Searches,
                batch_size=1,
                batch_format="pyarrow",
                compute=data.ActorPoolStrategy(size=self._actors),
                fn_constructor_args=(self._job,),
                num_cpus=self._on.cpus,
                num_gpus=self._on.gpus,
            )
        )

    def _connect(self) -> None:
        """Join the cluster, or start one.

        Raises:
            BatchError: neither worked.
        """
        self._reach()
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(_HEAD_TIMEOUT))
        path = os.pathsep.join(each for each in sys.path if each)
        own: dict[str, Any] = {"address": self._on.address}
        if self._on.address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell others
            own = {
                "address": "local",
                "num_cpus": max(available_cores(), int(self._actors * self._on.cpus + 1)),
                "include_dashboard": False,
                "runtime_env": {"env_vars": {"PYTHONPATH": path}},
            }
        try:
            self._ray.init(log_to_driver=False, logging_level="ERROR", **own)
        except Exception as error:
            raise self._not_joined(error) from error

    def _reach(self) -> None:
        """Find out whether anybody listens at the address, which Ray asks for many minutes.

        Raises:
            BatchError: nobody does.
        """
        host, _, port = (self._on.address or "").removeprefix("ray://").rpartition(":")
        if not host or not port.isdecimal():
            return  # "auto", which Ray looks up
        try:
            socket.create_connection((host, int(port)), timeout=_HEAD_TIMEOUT).close()
        except (OSError, OverflowError) as error:
            raise self._not_joined(error) from error

    def _not_joined(self, error: Exception) -> BatchError:
        return BatchError(
            f"Ray does not start or join {self._on.address or 'here'}: {one_line(error, 200)}",
            "check the address and that its version and Python are the same as here",
        )


class _Plans:
    """Windows become batches."""

    def __init__(self, job: Job, begun: Mapping[int, frozenset[int]], tasks: int) -> None:
        self._tasks = tasks
        self._reader = job.reader()
        self._planner = Planner(job, job.generator(load=False))
        self._begun = begun

    def __call__(self, windows: Any) -> Iterator[Any]:
        for pickled in windows.column(_COLUMN).to_pylist():
            window: Window = pickle.loads(pickled)
            planned = self._planner.plan(window, self._reader.read(window))
            done = self._begun.get(window.index, frozenset())
            batches = still_to_do(planned.batches, done)
            yield _block([Opened(window, planned.failed, planned.memory)])
            for task in in_tasks(batches, self._tasks):
                yield _block(task)


class _Searches:
    """Batches become answers; a process of its own loads the package once."""

    def __init__(self, job: Job) -> None:
        self._generator = job.generator()

    def __call__(self, given: Any) -> Iterator[Any]:
        for pickled in given.column(_COLUMN).to_pylist():
            events: list[Event] = []
            last = time.monotonic()
            for value in pickle.loads(pickled):
                events.append(self._answered(value) if isinstance(value, Batch) else value)
                if time.monotonic() - last >= _SECONDS:
                    yield _block(events)
                    events, last = [], time.monotonic()
            if events:
                yield _block(events)

    def _answered(self, batch: Batch) -> Answered:
        return Answered(batch.window, tuple(search(self._generator, batch)))


def in_tasks(batches: Sequence[Batch], tasks: int) -> Iterator[list[Batch]]:
    """Batches in their order, in so many parts at most of about the same work."""
    share = sum(batch.work for batch in batches) / tasks
    part: list[Batch] = []
    work = 0
    for batch in batches:
        part.append(batch)
        work += batch.work
        if work >= share:
            yield part
            part, work = [], 0
    if part:
        yield part


def _block(values: Sequence[Event | Batch]) -> Any:
    """What is handed on together: one row, of which Ray makes one block."""
    import pyarrow as pa

    return pa.table({_COLUMN: pa.array([pickle.dumps(values)], pa.large_binary())})


def _told(error: Exception) -> BatchError:
    """What Ray says, the cause of its user code first."""
    cause = getattr(error, "cause", None) or error.__cause__ or error
    return BatchError(
        f"Ray gave up: {type(cause).__name__}: {one_line(cause, 200)}",
        "run the same command again: it goes on where it was",
    )


def _import_ray() -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("--engine ray", "ray", error.name or "ray") from error
    return ray
