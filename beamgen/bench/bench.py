"""The whole bench, readable: files once, then turns in which everybody searches."""

from __future__ import annotations

import os
import statistics
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Unpack

from beamgen.bench.compare import workload_result
from beamgen.bench.discovery import contestants
from beamgen.bench.opening import bench_folder, open_workspace
from beamgen.bench.report import BenchReport
from beamgen.bench.request import BenchOptions, bench_request
from beamgen.bench.turns import prepare_files, take_turns
from beamgen.export.prove import Progress
from beamgen.runtime.machine import describe_machine, versions


def bench(
    model: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[BenchOptions],
) -> BenchReport:
    """Time the same search in everything that runs it here, and hold the tokens together.

    Every contestant searches in processes of its own, which take turns; in each it warms
    up once and is timed ``runs`` times, always with a prompt it has not seen. No EOS may
    come, so each search takes all its steps.

    Args:
        model: checkpoint folder or hub id; None takes random weights.
        progress: called with one line as each stage begins.
        options: see ``BenchOptions``.

    Returns:
        A row for every contestant in every workload; one that failed says why.

    Raises:
        MissingExtraError: torch is not installed.
        SettingError: no such contestant, shape or workload; the model is too short; or
            ``workdir`` holds another model's files.
        JobError: the checkpoint cannot be used, or transformers itself fails.
    """
    request = bench_request(model, options)
    progress = progress or (lambda line: None)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with bench_folder(request.workdir) as folder:
        progress("opening the checkpoint")
        workspace = open_workspace(folder, request)
        request = request.for_model(workspace)
        prepared = prepare_files(request, workspace, progress)
        turns = take_turns(request, workspace, prepared.failures, progress)
        bandwidth = statistics.median(turns.bandwidths)
        results = tuple(
            workload_result(work, request, workspace, turns, bandwidth)
            for work in request.workloads
        )
    return BenchReport(
        model={
            "name": workspace.model,
            "parameters": workspace.parameters,
            "weight_bytes": workspace.reading.weights,
            "cache_bytes_per_token": workspace.reading.cache,
            "encoder_bytes": workspace.reading.encoder,
        },
        settings={**asdict(request.conditions), "trust_remote_code": request.trust_remote_code},
        bandwidths=turns.bandwidths,
        machine=describe_machine(),
        versions=versions(name for each in contestants().values() for name in each.requires),
        results=results,
        command=request.command,
        started=started,
        prepared_seconds=prepared.seconds,
    )
