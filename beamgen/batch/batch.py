"""A file of prompts becomes a file of hypotheses."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from beamgen.batch.choose import choose_packing, choose_workers
from beamgen.batch.collect import Collector, Tally
from beamgen.batch.engine import Engine
from beamgen.batch.folder import JobFolder, open_folder
from beamgen.batch.here import Here
from beamgen.batch.job import Asked, Job, Packing, Runtime, identity
from beamgen.batch.plan import Planner, settings_columns
from beamgen.batch.processes import Processes
from beamgen.batch.ray_engine import OnRay, RayEngine
from beamgen.batch.reading.formats import format_of, reader_of
from beamgen.batch.reading.parquet import import_pyarrow
from beamgen.batch.reading.rows import InputRow, Reader, Scan
from beamgen.batch.report import BatchProgress, BatchReport
from beamgen.batch.writing import ADDED, FAILED, RESULTS, write_final
from beamgen.disk import local
from beamgen.errors import BatchError, InputError, SettingError
from beamgen.package.folder import Package, open_package
from beamgen.runtime.automata import MADE
from beamgen.runtime.footprint import peak_bytes
from beamgen.settings.prompts import Prompt

#: Rows that are looked at before anything is loaded.
_LOOKED_AT = 100

Progress = Callable[[BatchProgress], None]


def batch(
    package: Package | str | os.PathLike[str],
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    column: str = "text",
    input_format: str | None = None,
    format: str | None = None,
    chat: bool = False,
    add_special_tokens: bool = True,
    decoder_prompt: Prompt | None = None,
    src_lang: str | None = None,
    tgt_lang: str | None = None,
    lora: str | None = None,
    settings_from_columns: bool = True,
    batch_size: int | None = None,
    memory: int | None = None,
    processes: int | None = None,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    verify: bool = True,
    engine: str = "local",
    ray_address: str | None = None,
    actors: int | None = None,
    cpus_per_actor: float = 1.0,
    gpus_per_actor: float = 0.0,
    progress: Progress | None = None,
    **settings: Any,
) -> BatchReport:
    """Generate for every row of a file; each gets what it would get alone.

    Rows are searched in batches, and written in the order of the input with all their columns.
    A row that cannot be searched goes to ``failed.jsonl`` with its number and the reason, and
    the others go on. Called again after it was cut off, it goes on where it was.

    Args:
        package: an opened package or its folder.
        input: JSONL, CSV, TSV, TXT (a prompt on each line) or Parquet.
        output: a folder, new or of the same job.
        column: of the prompts: texts, token ids or chat messages.
        input_format: ``jsonl``, ``csv``, ``tsv``, ``txt`` or ``parquet``, where the name of
            the input does not say it.
        format: of the results, ``jsonl`` or ``parquet``; as the input is, or JSONL.
        chat: see ``Generator.generate``.
        add_special_tokens: see ``Generator.generate``.
        decoder_prompt: see ``Generator.generate``; for all rows.
        src_lang: see ``Generator.generate``; for all rows.
        tgt_lang: see ``Generator.generate``; for all rows.
        lora: see ``Generator.generate``; for all rows.
        settings_from_columns: a column called like a setting (``max_new_tokens``, ``seed`` ...),
            ``lora``, ``decoder_prompt``, ``src_lang`` or ``tgt_lang`` holds each row's own.
        batch_size: rows of a batch at most; by default as many as are worth it.
        memory: bytes that the search of a batch may take beside the weights.
        processes: by default one for each core, if memory has room for their weights.
        threads: of each process.
        providers: ONNX Runtime execution providers; others than the CPU's run in one process.
        verify: compare the package's files with the manifest's hashes first.
        engine: ``local``, or ``ray`` for Ray Data.
        ray_address: of a cluster that is there; by default one is started on this machine.
        actors: how many on Ray; by default as many as this machine has cores for.
        cpus_per_actor: of Ray's, or a part of one.
        gpus_per_actor: of Ray's, or a part of one.
        progress: is told how far it is, after every batch.
        settings: of all rows, see ``Generator.generate``; one value each. With ``do_sample``,
            row n is drawn with seed + n - 1.

    Raises:
        BatchError: the folder is another job's, or the job cannot go on.
        InputError: the input cannot be read, or has no such column.
        PackageError: the package cannot be read or loaded.
        SettingError: a setting is unknown or impossible.
        LoraError: there is no such LoRA.
        MissingExtraError: pyarrow or ray is needed and not installed.
    """
    begun = time.monotonic()
    tell = progress or (lambda _: None)
    path, target = local(input), local(output)
    name = format_of(path, input_format)
    reader = reader_of(path, name)
    results = format or ("parquet" if name == "parquet" else "jsonl")
    if results not in RESULTS:
        raise SettingError(
            f"no results are written as {results!r}", f"choose {' or '.join(RESULTS)}"
        )
    if results == "parquet":
        import_pyarrow()
    if engine not in ("local", "ray"):
        raise SettingError(f"there is no engine called {engine!r}", "choose local or ray")
    if not isinstance(package, Package):
        tell(BatchProgress("verifying the package"))
        package = open_package(package, verify=verify)
    asked = Asked(
        column,
        chat,
        add_special_tokens,
        decoder_prompt,
        src_lang,
        tgt_lang,
        lora,
        settings,
        settings_from_columns,
    )
    packing = choose_packing(package, batch_size, memory)
    runtime = Runtime(tuple(providers or ()), threads)
    job = Job(package.folder, path, name, asked, packing, runtime)
    _check(package, job)
    tell(BatchProgress("reading the prompts"))
    scan = reader.scan()
    own = _look(reader, scan, asked, path)
    with open_folder(
        target,
        {**identity(package, scan, name, asked), "format": results},
        {"packing": asdict(packing), "seed": secrets.randbits(40)},
    ) as folder:
        job = _as_begun(job, folder, fixed=batch_size is not None or memory is not None)
        on = OnRay(ray_address, actors, cpus_per_actor, gpus_per_actor)
        chosen = _engine(package, job, processes, engine, on)
        tally = Tally(scan.rows)

        def told(stage: str) -> BatchProgress:
            return BatchProgress(
                stage,
                tally.rows,
                tally.done,
                tally.failed,
                tally.before,
                tally.tokens,
                time.monotonic() - begun,
                chosen.describe(),
                own,
            )

        if not folder.is_done:
            _search(folder, chosen, scan, tally, lambda: tell(told("searching")))
            tell(told("writing the results"))
            _unchanged(path, scan)
            folder.finish(
                write_final(target, results, reader, scan.windows, folder.found),
                {"answered": tally.answered, "failed": tally.failed},
            )
        else:
            folder.sweep()
            tally.answered, tally.failed = folder.counted
            tally.before = tally.done
        return BatchReport(
            target,
            target / RESULTS[results],
            target / FAILED,
            tally.rows,
            tally.answered,
            tally.failed,
            tally.before,
            tally.tokens,
            time.monotonic() - begun,
            chosen.describe(),
            peak_bytes(package, tally.memory) if tally.memory else 0,
        )


def _search(
    folder: JobFolder, engine: Engine, scan: Scan, tally: Tally, tell: Callable[[], None]
) -> None:
    """Search what has no answer yet; what is found is on disk when it ends, however it ends."""
    collector = Collector(folder, tally)
    begun: dict[int, frozenset[int]] = {}
    todo = []
    for window in scan.windows:
        found = folder.found(window.index)
        if window.index in folder.complete:
            tally.count(found.values(), now=False)
            continue
        todo.append(window)
        if found:
            collector.begin(window.index, found)
            begun[window.index] = frozenset(found)
    tell()
    events = engine.run(todo, lambda window: begun.get(window, frozenset()))
    try:
        with closing(events):  # type: ignore[type-var] # a generator, in all engines
            for event in events:
                collector.take(event)
                tell()
    finally:
        collector.flush()
    missing = [window.index for window in todo if window.index not in folder.complete]
    if missing:
        raise BatchError(
            f"{len(missing)} windows of rows came back incomplete, the first is {missing[0]}",
            "run the same command again: it goes on where it was",
        )


def _check(package: Package, job: Job) -> None:
    """Refuse what is wrong for all rows before anything is loaded or written.

    Raises:
        BeamgenError: with what.
    """
    asked = job.asked
    settings = {name: value for name, value in asked.settings.items() if name not in MADE}
    package.manifest.search.with_overrides(settings)
    generator = job.generator(load=False)
    generator.check_lora(asked.lora, 1)
    Planner(job, generator)


def _look(reader: Reader, scan: Scan, asked: Asked, path: Path) -> tuple[str, ...]:
    """The columns that are settings; the first rows have to show that of the prompts.

    Raises:
        InputError: they do not, or a column is called as one that is added.
    """
    if not scan.rows:
        raise InputError(f"{path} has no rows", "name a file of prompts")
    columns = scan.columns or _columns(islice(reader.read(scan.windows[0]), _LOOKED_AT))
    if columns and asked.column not in columns:
        raise InputError(
            f"{path} has no column '{asked.column}': it has {', '.join(columns):.200}",
            f"name one with --column, for example --column {columns[0]}",
        )
    taken = [name for name in ADDED if name in columns]
    if taken:
        raise InputError(
            f"{path} has a column '{taken[0]}', which the results add", "rename that column"
        )
    own = settings_columns(columns, asked.column) if asked.settings_from_columns else []
    return tuple(own)


def _columns(rows: Iterator[InputRow]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row.values))


def _as_begun(job: Job, folder: JobFolder, *, fixed: bool) -> Job:
    """The job with what its first run chose: rows are then batched, and drawn, as they were."""
    seed = job.asked.settings.get("seed")
    asked = replace(job.asked, seed=folder.manifest["seed"] if seed is None else int(seed))
    packing = job.packing if fixed else Packing(**folder.manifest["packing"])
    return replace(job, asked=asked, packing=packing)


def _engine(package: Package, job: Job, processes: int | None, engine: str, on: OnRay) -> Engine:
    """What is to run the job.

    Raises:
        MissingExtraError: ray is not installed.
    """
    if engine == "ray":
        return RayEngine(job, on)
    elsewhere = any(name != "CPUExecutionProvider" for name in job.runtime.providers)
    if elsewhere and processes is None:
        return Here(job)
    workers, threads = choose_workers(package, job.packing, processes, job.runtime.threads)
    if workers == 1:
        return Here(job.with_threads(threads))
    return Processes(job.with_threads(threads), workers)


def _unchanged(path: Path, scan: Scan) -> None:
    """Hold the input to what it was.

    Raises:
        BatchError: it was changed meanwhile.
    """
    if path.stat().st_size != scan.size:
        raise BatchError(
            f"{path} was changed while it was searched",
            "put the old file back and run the same command, or search the new one into a new "
            "folder",
        )
