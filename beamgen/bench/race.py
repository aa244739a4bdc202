"""The whole bench, readable: files once, then turns in which everybody searches."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from beamgen.bench.contestants import YARDSTICK, Contestant, contestants
from beamgen.bench.floor import floor_seconds
from beamgen.bench.machine import available_cores, describe_machine, versions
from beamgen.bench.processes import run_job
from beamgen.bench.report import FAILED, MISSING, BenchReport, Result, Row, judge
from beamgen.bench.workload import Task, Workload
from beamgen.bench.workspace import Workspace, size_of
from beamgen.errors import JobError, MissingExtraError, SettingError, close_matches
from beamgen.export.prove import Progress

#: Everybody, also those that are not installed.
ALL = "all"


@dataclass(frozen=True)
class _Conditions:
    """What holds for every process."""

    num_beams: int
    batch_size: int
    threads: int
    turns: int
    runs: int
    seed: int
    timeout: float

    def __post_init__(self) -> None:
        for name in ("num_beams", "batch_size", "threads", "turns", "runs", "timeout"):
            value = getattr(self, name)
            if value <= 0:
                raise SettingError(f"{name} is {value}", "it has to be at least 1")

    def task(self, workload: Workload) -> Task:
        return Task(
            *(workload.prompt_tokens, workload.new_tokens),
            num_beams=self.num_beams,
            batch_size=self.batch_size,
            threads=self.threads,
            seed=self.seed,
        )

    def run(self, job: str, **request: Any) -> dict[str, Any]:
        return run_job(job, self.threads, self.timeout, **request)


@dataclass
class _Entry:
    """One contestant in one workload: its processes' answers, or why there are none."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    verdict: str | None = None
    reason: str | None = None


def bench(
    model: str | os.PathLike[str] | None = None,
    *,
    shape: str | None = None,
    against: Sequence[str] | None = None,
    workloads: Sequence[str | Workload] = ("64+64",),
    num_beams: int = 5,
    batch_size: int = 1,
    threads: int | None = None,
    turns: int = 3,
    runs: int = 3,
    seed: int = 0,
    trust_remote_code: bool = False,
    workdir: str | os.PathLike[str] | None = None,
    timeout: float = 3600.0,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> BenchReport:
    """Time the same search in everything that runs it here, and hold the tokens together.

    Every contestant searches in processes of its own, which take turns; in each it warms
    up once and is timed ``runs`` times, always with a prompt it has not seen. No EOS may
    come, so each search takes all its steps.

    Args:
        model: checkpoint folder or hub id.
        shape: without ``model``: random weights in the shape of that adapter's
            ``full_config``; by default the smallest.
        against: names of contestants, see ``CONTESTANTS``; ``all`` for everybody; by
            default those that are installed. transformers, the yardstick, always runs.
        workloads: prompt + new tokens, such as ``64+64``.
        num_beams: K.
        batch_size: B, prompts of one length.
        threads: of every contestant; by default all cores there are.
        turns: processes per contestant and workload.
        runs: timed searches per process.
        seed: of the prompts.
        trust_remote_code: run Python code that comes with the checkpoint.
        workdir: keep what is made of the model there, for a bench to come. Remove it when
            a package that makes the files has changed.
        timeout: seconds that any one process may take.
        command: what the report says it was called with; by default ``sys.argv``.
        progress: called with one line as each stage begins.

    Returns:
        A row for every contestant in every workload; one that failed says why.

    Raises:
        MissingExtraError: torch is not installed.
        SettingError: no such contestant, shape or workload; the model is too short; or
            ``workdir`` holds another model's files.
        JobError: the checkpoint cannot be used, or transformers itself fails.
    """
    say = progress or (lambda line: None)
    threads = available_cores() if threads is None else threads
    conditions = _Conditions(num_beams, batch_size, threads, turns, runs, seed, timeout)
    works = [each if isinstance(each, Workload) else Workload.parse(each) for each in workloads]
    works = list(dict.fromkeys(works))
    chosen = _choose(against)
    if model is not None and shape is not None:
        raise SettingError("both a model and a shape were given", "leave out one of them")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with _folder(workdir) as folder:
        say("opening the checkpoint")
        request = {"model": None if model is None else os.fspath(model), "shape": shape}
        workspace = _open(folder, conditions, trust_remote_code, request)
        _check_lengths(works, workspace)
        entries = {work: {each.name: _Entry() for each in chosen} for work in works}
        prepared = _prepare(chosen, entries, workspace, conditions, say)
        bandwidths = _take_turns(chosen, entries, workspace, conditions, say)
        bandwidth = statistics.median(bandwidths)
        results = tuple(
            _result(chosen, work, entries[work], workspace, conditions, bandwidth) for work in works
        )
    settings = {**asdict(conditions), "trust_remote_code": trust_remote_code}
    return BenchReport(
        model={
            "name": workspace.model,
            "parameters": workspace.parameters,
            "weight_bytes": workspace.weight_bytes,
            "cache_bytes_per_token": workspace.cache_bytes,
        },
        settings=settings,
        bandwidths=tuple(bandwidths),
        machine=describe_machine(),
        versions=versions(name for each in contestants().values() for name in each.requires),
        results=results,
        command=tuple(command or sys.argv),
        started=started,
        prepared_seconds=prepared,
    )


def _choose(against: Sequence[str] | None) -> list[Contestant]:
    """The yardstick first; the others in the order of ``CONTESTANTS``."""
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
        return [each for each in known.values() if each.name == YARDSTICK or not each.missing]
    names = set(known) if ALL in against else {*against, YARDSTICK}
    return [each for each in known.values() if each.name in names]


@contextlib.contextmanager
def _folder(workdir: str | os.PathLike[str] | None) -> Iterator[Path]:
    if workdir is not None:
        folder = Path(workdir).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="beamgen-bench-") as scratch:
        yield Path(scratch)


def _open(
    folder: Path, conditions: _Conditions, trust_remote_code: bool, request: Mapping[str, Any]
) -> Workspace:
    """The workspace of this model; one that is there already has to be of the same."""
    about = {
        **request,
        "trust_remote_code": trust_remote_code,
        "num_beams": conditions.num_beams,
    }
    mark = folder / "bench-request.json"
    if mark.exists():
        if json.loads(mark.read_text(encoding="utf-8")) != about:
            raise SettingError(
                f"{folder} holds the files of another model, or for other beams",
                "name another --workdir, or remove this one",
            )
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Workspace.load(folder)
    elif any(folder.iterdir()):
        raise SettingError(f"{folder} holds something else", "name a new folder as --workdir")
    conditions.run("describe", folder=str(folder), **about)
    mark.write_text(json.dumps(about) + "\n", encoding="utf-8")
    return Workspace.load(folder)


def _check_lengths(works: Sequence[Workload], workspace: Workspace) -> None:
    if not works:
        raise SettingError("there is no workload", "name one, such as 64+64")
    for work in works:
        if work.prompt_tokens + work.new_tokens > workspace.max_positions:
            raise SettingError(
                f"{work} tokens are more than the {workspace.max_positions} positions of "
                f"{workspace.model}",
                "choose a smaller workload",
            )


def _prepare(
    chosen: Sequence[Contestant],
    entries: Mapping[Workload, Mapping[str, _Entry]],
    workspace: Workspace,
    conditions: _Conditions,
    say: Progress,
) -> dict[str, float]:
    """Make all files once; who cannot get its own fails in every workload."""
    seconds: dict[str, float] = {}
    failures: dict[str, str] = {}
    for each in chosen:
        verdict, reason = None, None
        if each.missing:
            verdict, reason = MISSING, f"pip install {' '.join(each.missing)}"
        for need in each.needs if verdict is None else ():
            if need not in failures and not workspace.files(need).exists():
                say(f"preparing {need}")
                try:
                    done = conditions.run("prepare", folder=str(workspace.folder), name=need)
                    seconds[need] = done["seconds"]
                except JobError as error:
                    failures[need] = error.cause
            if need in failures:
                verdict, reason = FAILED, f"cannot prepare {need}: {failures[need]}"
                break
        for work in entries:
            entries[work][each.name].verdict = verdict
            entries[work][each.name].reason = reason
    return seconds


def _take_turns(
    chosen: Sequence[Contestant],
    entries: Mapping[Workload, Mapping[str, _Entry]],
    workspace: Workspace,
    conditions: _Conditions,
    say: Progress,
) -> list[float]:
    """Everybody once in each turn and workload, beginning with another each time."""
    bandwidths = []
    for turn in range(conditions.turns):
        say(f"turn {turn + 1} of {conditions.turns}: bandwidth")
        found = conditions.run("bandwidth", readers=conditions.threads)
        bandwidths.append(found["bandwidth"])
        for work, rows in entries.items():
            first = turn % len(chosen)
            for each in [*chosen[first:], *chosen[:first]]:
                entry = rows[each.name]
                if entry.verdict is not None:
                    continue
                say(f"turn {turn + 1} of {conditions.turns}: {work}, {each.name}")
                try:
                    answer = conditions.run(
                        "search",
                        folder=str(workspace.folder),
                        contestant=each.name,
                        task=asdict(conditions.task(work)),
                        runs=conditions.runs,
                    )
                    entry.answers.append(answer)
                except JobError as error:
                    if each.name == YARDSTICK:
                        raise JobError(
                            f"{YARDSTICK}, the yardstick, failed at {work}: {error.cause}",
                            error.cure,
                        ) from error
                    entry.verdict, entry.reason = FAILED, error.cause
    return bandwidths


def _result(
    chosen: Sequence[Contestant],
    work: Workload,
    entries: Mapping[str, _Entry],
    workspace: Workspace,
    conditions: _Conditions,
    bandwidth: float,
) -> Result:
    task = conditions.task(work)
    expected = entries[YARDSTICK].answers[0]["tokens"]
    rows = []
    for each in chosen:
        entry = entries[each.name]
        answers = entry.answers if entry.verdict is None else []
        verdict, equal = entry.verdict, None
        if verdict is None:
            verdict, equal = judge(each.precision, [a["tokens"] for a in answers], expected)
        files = size_of(workspace.files(each.needs[-1])) if each.needs else _weights(workspace)
        quantized = each.precision in ("int8", "int4")
        read = files if quantized else workspace.weight_bytes
        rows.append(
            Row(
                each.name,
                each.precision,
                each.ours,
                verdict,
                entry.reason,
                equal,
                seconds=tuple(s for a in answers for s in a["seconds"]),
                first_seconds=tuple(s for a in answers for s in a["first_seconds"]),
                load_seconds=tuple(a["load_seconds"] for a in answers),
                peak_bytes=max((a["peak_bytes"] for a in answers), default=None),
                file_bytes=files if answers else None,
                floor_seconds=floor_seconds(read, workspace.cache_bytes, task, bandwidth)
                if answers
                else None,
                new_tokens=work.new_tokens,
                batch_size=conditions.batch_size,
            )
        )
    floor = floor_seconds(workspace.weight_bytes, workspace.cache_bytes, task, bandwidth)
    return Result(work, floor, tuple(rows))


def _weights(workspace: Workspace) -> int:
    """Bytes of the checkpoint's weights, in the format that transformers takes first."""
    for pattern in ("*.safetensors", "*.bin"):
        found = sum(size_of(path) for path in workspace.checkpoint.glob(pattern))
        if found:
            return found
    return 0
