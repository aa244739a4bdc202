"""Where a training keeps its points to resume from, and where what it made goes."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from beamgen.disk import write_text
from beamgen.errors import PackageError, SettingError
from beamgen.lora.peft_folder import CONFIG
from beamgen.package.folders import Kind, check_replaceable

#: What was asked and what came of it, beside what peft's ``save_pretrained`` writes.
RECORD = "finetune.json"

#: What a training writes, and may replace, as peft's ``save_pretrained`` does.
PEFT_FOLDER = Kind(
    "PEFT folder",
    CONFIG,
    RECORD,
    frozenset({"adapter_model.safetensors", "adapter_model.bin", "README.md"}),
)

#: What a training of all weights writes.
TRAINED_CHECKPOINT = Kind("trained checkpoint", RECORD)


@contextlib.contextmanager
def work_folder(
    target: Path, record: Mapping[str, Any], *, resume: bool, force: bool
) -> Iterator[Path]:
    """A hidden folder beside the output; it stays where it holds something to resume.

    Raises:
        SettingError: there is nothing to resume, or of another training; or there is,
            and neither ``resume`` nor ``force`` was given.
        PackageError: it cannot be written.
    """
    work = target.parent / f".{target.name}.training"
    if resume:
        _check_resumable(work, record)
    elif work.exists() and not force:
        raise SettingError(
            f"{work} is left from an interrupted training",
            "pass --resume to go on with it, or --force to begin anew",
        )
    made = [parent for parent in work.absolute().parents if not parent.exists()]
    try:
        if not resume:
            _begin(work, record)
        yield work
    except BaseException:
        if last_checkpoint(work) is None:
            _remove(work, made)
        raise
    shutil.rmtree(work, ignore_errors=True)


def last_checkpoint(work: Path) -> Path | None:
    """The newest point to resume from that was written to its end, the state coming last."""
    whole = [state.parent for state in work.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


def _begin(work: Path, record: Mapping[str, Any]) -> None:
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_json(work / RECORD, record)
    except OSError as error:
        raise PackageError(
            f"cannot write {work}: {error.strerror}", "choose another --output"
        ) from error


def _remove(work: Path, made: Sequence[Path]) -> None:
    """Remove the folder, and the empty ones that were made for it."""
    shutil.rmtree(work, ignore_errors=True)
    for parent in made:
        with contextlib.suppress(OSError):  # somebody else put something there
            parent.rmdir()


def _check_resumable(work: Path, record: Mapping[str, Any]) -> None:
    if last_checkpoint(work) is None:
        found = "holds no step that was saved" if work.exists() else "does not exist"
        raise SettingError(
            f"there is nothing to resume: {work} {found}",
            "leave out --resume" + (", and pass --force to begin anew" if work.exists() else ""),
        )
    try:
        before = dict(json.loads((work / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SettingError(
            f"{work / RECORD} is missing or damaged", "pass --force without --resume to begin anew"
        ) from error
    changed = [
        f"{name} was {_shown(before.get(name))}, now {_shown(value)}"
        for name, value in record.items()
        if before.get(name) != value
    ]
    if changed:
        raise SettingError(
            f"the interrupted training differs: {'; '.join(changed)}",
            "pass what it had, or --force without --resume to begin anew",
        )


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{value['file']} (SHA-256 {value['sha256'][:8]}…)"
    return json.dumps(value)


def check_output(target: Path, kind: Kind, *, force: bool, inputs: Iterable[Path]) -> None:
    """Refuse an output folder early, before any work is done.

    Raises:
        PackageError: see ``folders.check_replaceable``.
    """
    check_replaceable(target, kind, force=force, inputs=inputs)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON that is indented, for people."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
