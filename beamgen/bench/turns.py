"""Files are made once; then everybody searches in turns, each time in a new process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from beamgen.bench.contestant import YARDSTICK, Contestant
from beamgen.bench.processes import neighbours, run_job
from beamgen.bench.request import BenchRequest
from beamgen.bench.verdict import FAILED, MISSING
from beamgen.bench.workload import Workload
from beamgen.bench.workspace import Workspace
from beamgen.errors import JobError
from beamgen.export.prove import Progress


@dataclass(frozen=True)
class Failure:
    """Why a contestant has no time.

    Attributes:
        verdict: failed, or not installed.
        reason: in a line.
    """

    verdict: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """What came of making the files.

    Attributes:
        seconds: that each preparation took which was not there already.
        failures: of the contestants that cannot get their files, by name.
    """

    seconds: Mapping[str, float]
    failures: Mapping[str, Failure]


@dataclass(frozen=True)
class Turns:
    """What came of the turns.

    Attributes:
        bandwidths: bytes per second, once a turn.
        answers: of the processes of a contestant in a workload.
        busy: the same beside busy neighbours; empty without such a series.
        failures: of the contestants that have no time in a workload.
    """

    bandwidths: tuple[float, ...]
    answers: Mapping[tuple[Workload, str], Sequence[dict[str, Any]]]
    busy: Mapping[tuple[Workload, str], Sequence[dict[str, Any]]]
    failures: Mapping[tuple[Workload, str], Failure]


def prepare_files(request: BenchRequest, workspace: Workspace, progress: Progress) -> Prepared:
    """Make all files that are not there yet, each once."""
    seconds: dict[str, float] = {}
    causes: dict[str, str] = {}
    failures: dict[str, Failure] = {}
    for contestant in request.contestants:
        if contestant.missing:
            reason = f"pip install {' '.join(contestant.missing)}"
            failures[contestant.name] = Failure(MISSING, reason)
            continue
        if not contestant.runs(workspace):
            runs = "models that read text" if contestant.encoders else "decoders"
            failures[contestant.name] = Failure(FAILED, f"it runs {runs} alone")
            continue
        for need in contestant.needs:
            if need not in causes and not workspace.files(need).exists():
                progress(f"preparing {need}")
                try:
                    folder = str(workspace.folder)
                    done = run_job("prepare", request.conditions, folder=folder, name=need)
                    seconds[need] = done["seconds"]
                except JobError as error:
                    causes[need] = error.cause
            if need in causes:
                reason = f"cannot prepare {need}: {causes[need]}"
                failures[contestant.name] = Failure(FAILED, reason)
                break
    return Prepared(seconds, failures)


def take_turns(
    request: BenchRequest,
    workspace: Workspace,
    cannot_run: Mapping[str, Failure],
    progress: Progress,
) -> Turns:
    """Everybody once in each turn and workload, beginning with another each time.

    Raises:
        JobError: transformers itself fails.
    """
    conditions = request.conditions
    bandwidths: list[float] = []
    answers: dict[tuple[Workload, str], list[dict[str, Any]]] = defaultdict(list)
    busy: dict[tuple[Workload, str], list[dict[str, Any]]] = defaultdict(list)
    failures = {(work, name): cannot_run[name] for work in request.workloads for name in cannot_run}
    for turn in range(conditions.turns):
        turn_name = f"turn {turn + 1} of {conditions.turns}"
        progress(f"{turn_name}: bandwidth")
        measured = run_job("bandwidth", conditions, readers=conditions.threads)
        bandwidths.append(measured["bandwidth"])
        first = turn % len(request.contestants)
        order = [*request.contestants[first:], *request.contestants[:first]]
        for work in request.workloads:
            for contestant in order:
                place = (work, contestant.name)
                if place in failures:
                    continue
                progress(f"{turn_name}: {work}, {contestant.name}")
                try:
                    answers[place].append(_search(contestant, work, request, workspace))
                    if conditions.busy:
                        progress(f"{turn_name}: {work}, {contestant.name}, busy neighbours")
                        with neighbours(conditions.busy):
                            busy[place].append(_search(contestant, work, request, workspace))
                except JobError as error:
                    failures[place] = _failure(contestant, work, error)
    return Turns(tuple(bandwidths), answers, busy, failures)


def _search(
    contestant: Contestant, work: Workload, request: BenchRequest, workspace: Workspace
) -> dict[str, Any]:
    """What one process of a contestant answers."""
    return run_job(
        "search",
        request.conditions,
        folder=str(workspace.folder),
        contestant=contestant.name,
        task=asdict(request.conditions.task(work)),
        runs=request.conditions.runs,
    )


def _failure(contestant: Contestant, work: Workload, error: JobError) -> Failure:
    """Why a process failed; without the yardstick there is nothing to compare with."""
    if contestant.name == YARDSTICK:
        raise JobError(
            f"{YARDSTICK}, the yardstick, failed at {work}: {error.cause}", error.cure
        ) from error
    return Failure(FAILED, error.cause)
