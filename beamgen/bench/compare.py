"""What the processes answered becomes rows, their tokens held against the yardstick's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beamgen.bench.contestant import YARDSTICK, Contestant
from beamgen.bench.request import BenchRequest
from beamgen.bench.result import Result, Row
from beamgen.bench.turns import Failure, Turns
from beamgen.bench.verdict import Tokens, judge
from beamgen.bench.workload import Task, Workload
from beamgen.bench.workspace import Workspace, size_of

_QUANTIZED = ("w16", "int8", "int4")


def workload_result(
    work: Workload, request: BenchRequest, workspace: Workspace, turns: Turns, bandwidth: float
) -> Result:
    """The rows of all contestants in one workload.

    Args:
        work: the workload.
        request: who was asked for, under which conditions.
        workspace: the model's sizes, and the files.
        turns: what the processes answered.
        bandwidth: bytes per second, for the floor.
    """
    task = request.conditions.task(work)
    expected = turns.answers[work, YARDSTICK][0]["tokens"]

    def row(contestant: Contestant) -> Row:
        failure = turns.failures.get((work, contestant.name))
        if failure is not None:
            return _failed_row(contestant, task, failure)
        file_bytes = _file_bytes(contestant, workspace)
        reading = workspace.reading
        if contestant.precision in _QUANTIZED:
            reading = reading.stored_in(file_bytes)
        answers = turns.answers[work, contestant.name]
        floor = reading.seconds(task, bandwidth)
        busy = turns.busy.get((work, contestant.name), ())
        return _timed_row(contestant, task, answers, busy, expected, file_bytes, floor)

    floor = workspace.reading.seconds(task, bandwidth)
    return Result(work, floor, tuple(row(contestant) for contestant in request.contestants))


def _failed_row(contestant: Contestant, task: Task, failure: Failure) -> Row:
    return Row(
        contestant=contestant.name,
        precision=contestant.precision,
        ours=contestant.ours,
        verdict=failure.verdict,
        reason=failure.reason,
        new_tokens=task.new_tokens,
        batch_size=task.batch_size,
    )


def _timed_row(
    contestant: Contestant,
    task: Task,
    answers: Sequence[dict[str, Any]],
    busy: Sequence[dict[str, Any]],
    expected: Tokens,
    file_bytes: int,
    floor: float,
) -> Row:
    tokens = [answer["tokens"] for answer in (*answers, *busy)]
    verdict, equal_tokens = judge(contestant.precision, tokens, expected)
    return Row(
        contestant=contestant.name,
        precision=contestant.precision,
        ours=contestant.ours,
        verdict=verdict,
        equal_tokens=equal_tokens,
        seconds=_seconds(answers),
        busy_seconds=_seconds(busy),
        first_seconds=tuple(each for answer in answers for each in answer["first_seconds"]),
        load_seconds=tuple(answer["load_seconds"] for answer in answers),
        peak_bytes=max(answer["peak_bytes"] for answer in answers),
        file_bytes=file_bytes,
        floor_seconds=floor,
        new_tokens=task.new_tokens,
        batch_size=task.batch_size,
    )


def _seconds(answers: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    return tuple(each for answer in answers for each in answer["seconds"])


def _file_bytes(contestant: Contestant, workspace: Workspace) -> int:
    """Bytes of what a contestant loads; without files of its own, of the checkpoint's weights."""
    if contestant.needs:
        return size_of(workspace.files(contestant.needs[-1]))
    for pattern in ("*.safetensors", "*.bin"):  # transformers takes the first that is there
        found = sum(size_of(path) for path in workspace.checkpoint.glob(pattern))
        if found:
            return found
    return 0
