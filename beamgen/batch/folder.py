"""The folder of a job: one process at a time, shards that are there whole or not at all.

``job.json`` says whose it is. ``shards/00000012.jsonl`` holds the answers of a window in input
order, ``shards/00000012-0003.jsonl`` some answers of a window that is not complete yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from beamgen.batch.answers import Answer
from beamgen.disk import flush, lock, replacing, sweep_partials, write_text
from beamgen.errors import BatchError

MANIFEST, LOCK, SHARDS = "job.json", ".job.lock", "shards"
SCHEMA_VERSION = 1

_NAME = re.compile(r"(\d{8})(?:-(\d{4,}))?\.jsonl")

#: What a manifest's identity says, in words.
_PARTS = {
    "package": "the package",
    "input": "the prompts",
    "settings": "the settings",
    "format": "the format of the results",
}


class JobFolder:
    """What is on disk of a job; made by ``open_folder``."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        """Look which shards are there."""
        self.path, self.manifest = path, manifest
        self._shards = path / SHARDS
        self._parts: dict[int, int] = {}  # of a window, the next number
        self.complete: set[int] = set()
        for window, part, _ in self._names():
            if part is None:
                self.complete.add(window)
            else:
                self._parts[window] = max(self._parts.get(window, 0), part + 1)

    @property
    def is_done(self) -> bool:
        """Whether the final files are there."""
        return self.manifest["state"] == "done" and all(
            (self.path / name).is_file() and (self.path / name).stat().st_size == size
            for name, size in self.manifest["output"].items()
        )

    def found(self, window: int) -> dict[int, Answer]:
        """The answers of a window that are on disk, by row."""
        paths = [self._whole(window)] if window in self.complete else self._existing(window)
        answers: dict[int, Answer] = {}
        for path in paths:
            with path.open(encoding="utf-8") as stream:
                for answer in map(Answer.from_line, stream):
                    answers[answer.row] = answer
        return answers

    def add(self, window: int, answers: Iterable[Answer]) -> None:
        """Put some answers of a window on disk, in one rename."""
        part = self._parts.get(window, 0)
        self._write(self._part(window, part), answers)
        self._parts[window] = part + 1

    def close(self, window: int, answers: Mapping[int, Answer]) -> None:
        """Put all answers of a window on disk, in one rename, and remove what was before."""
        self._write(self._whole(window), (answers[row] for row in sorted(answers)))
        self.complete.add(window)
        for path in self._existing(window):
            path.unlink()

    @property
    def counted(self) -> tuple[int, int]:
        """Of a job that is done: rows that were searched, and that failed."""
        return self.manifest["answered"], self.manifest["failed"]

    def finish(self, output: Mapping[str, int], counts: Mapping[str, int]) -> None:
        """Say that the final files are there, and remove the shards."""
        self.manifest = {**self.manifest, "state": "done", "output": dict(output), **counts}
        self.save()
        self.sweep()

    def sweep(self) -> None:
        """Remove the shards of a job that is done."""
        for _, _, path in self._names():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what somebody else put there stays
            self._shards.rmdir()

    def save(self) -> None:
        """Write the manifest, in one rename."""
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False)
        write_text(self.path / MANIFEST, text + "\n")

    def _names(self) -> Iterator[tuple[int, int | None, Path]]:
        """Window, part and path of all shards; no part of those that are whole."""
        for path in self._shards.glob("*.jsonl"):
            named = _NAME.fullmatch(path.name)
            if named is not None:
                yield int(named[1]), None if named[2] is None else int(named[2]), path

    def _whole(self, window: int) -> Path:
        return self._shards / f"{window:08d}.jsonl"

    def _part(self, window: int, part: int) -> Path:
        return self._shards / f"{window:08d}-{part:04d}.jsonl"

    def _existing(self, window: int) -> list[Path]:
        """The parts of a window; a kill may have left some beside the whole of it."""
        named = (self._part(window, part) for part in range(self._parts.get(window, 0)))
        return [path for path in named if path.exists()]

    def _write(self, path: Path, answers: Iterable[Answer]) -> None:
        with writing_to(self.path):
            self._shards.mkdir(exist_ok=True)
            with replacing(path) as partial, partial.open("w", encoding="utf-8") as stream:
                stream.writelines(f"{answer.to_line()}\n" for answer in answers)
            flush(self._shards)


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Say where it was that the system would not write.

    Raises:
        BatchError: the disk is full, or the folder may not be written to.
    """
    try:
        yield
    except OSError as error:
        raise BatchError(
            f"cannot write into {path}: {error.strerror or error}",
            "free space, and run the same command again: it goes on where it was",
        ) from error


@contextlib.contextmanager
def open_folder(
    path: Path, identity: Mapping[str, Any], first: Mapping[str, Any]
) -> Iterator[JobFolder]:
    """The folder of a job, new or begun, which no other process opens until the block ends.

    Args:
        path: where it is to be.
        identity: of the job; see ``job.identity``.
        first: what else the manifest of a new job says.

    Raises:
        BatchError: it is another job's, or no job's, or a process works in it.
    """
    with writing_to(path):
        path.mkdir(parents=True, exist_ok=True)
    there = [each.name for each in path.iterdir() if each.name != LOCK]
    if there and MANIFEST not in there and not set(there) <= {f".{MANIFEST}.partial"}:
        raise BatchError(
            f"{path} holds {there[0]}, and is no folder of a batch",
            "name a folder that is new or empty",
        )
    stream = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not lock(stream, wait=False) and _can_lock():
            raise BatchError(
                f"another process is at work in {path}",
                "wait until it ends, or name another folder",
            )
        sweep_partials(path)
        sweep_partials(path / SHARDS)
        manifest = read_job(path) if (path / MANIFEST).exists() else None
        if manifest is not None:
            check_same(path, manifest, identity)
        begun = {"schema_version": SCHEMA_VERSION, **identity, **first, "state": "running"}
        folder = JobFolder(path, manifest or {**begun, "output": {}})
        if manifest is None:
            folder.save()
        yield folder
    finally:
        os.close(stream)


def read_job(path: Path) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
        BatchError: it is damaged, or of another version.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise BatchError(
            f"{path / MANIFEST} is damaged", "name another folder, or remove this one"
        ) from error
    if version != SCHEMA_VERSION:
        raise BatchError(
            f"{path} was begun by a beamgen of another version (schema {version!r:.20})",
            "finish it with that one, or name another folder",
        )
    found: dict[str, Any] = manifest
    return found


def check_same(path: Path, manifest: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Refuse the folder of another job.

    Raises:
        BatchError: with what differs.
    """
    differing = [
        _told(part, manifest.get(part), identity[part])
        for part in _PARTS
        if manifest.get(part) != identity[part]
    ]
    if differing:
        raise BatchError(
            f"{path} belongs to another job: {'; '.join(differing)}",
            f"name another folder, or remove that one: rm -r {shlex.quote(str(path))}",
        )


def _told(part: str, before: Any, now: Any) -> str:
    """What of a part differs, by name where it has names."""
    if not isinstance(before, Mapping) or part == "input":
        return f"{_PARTS[part]} {'are' if part == 'input' else 'is'} not the same"
    flat = [{**each, **each.get("settings", {})} for each in (before, now)]
    for each in flat:
        each.pop("settings", None)
    names = sorted(name for name in flat[0].keys() | flat[1].keys() if _differs(name, *flat))
    shown = (f"{n} {_word(flat[1], n)}, then {_word(flat[0], n)}" for n in names)
    return f"{', '.join(shown)}"


def _differs(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    missing = object()
    return bool(before.get(name, missing) != now.get(name, missing))


def _word(values: Mapping[str, Any], name: str) -> str:
    return f"{values[name]!r:.40}" if name in values else "not given"


def _can_lock() -> bool:
    """Whether a lock that is not had says that somebody has it."""
    return os.name == "posix"
