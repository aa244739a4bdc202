"""The hidden folder beside an output in which that is made, and what a killed run left of one.

``.NAME.beamgen-XXXXXXXX`` holds ``lock``, which its process holds as long as it lives;
``new``, which becomes ``NAME``; and ``old``, which was ``NAME``, where folders cannot be exchanged.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beamgen.disk import lock
from beamgen.errors import PackageError

_NAME = re.compile(r"\.(.+)\.beamgen-\w{8}", re.DOTALL)
_PARTS = {"lock", "new", "old"}

#: Seconds to wait for a living process between its two renames.
_PATIENCE = 5.0

_LOG = logging.getLogger("beamgen")


@dataclass(frozen=True)
class Workspace:
    """One such folder, of a living process or a dead one."""

    folder: Path

    @property
    def new(self) -> Path:
        """What is made."""
        return self.folder / "new"

    @property
    def old(self) -> Path:
        """What was moved aside for it."""
        return self.folder / "old"

    @property
    def target(self) -> Path:
        """What ``new`` becomes."""
        found = _NAME.fullmatch(self.folder.name)
        assert found is not None
        return self.folder.parent / found[1]

    @property
    def interrupted(self) -> bool:
        """Whether there is nothing at the target, the old one being here."""
        return self.new.exists() and self.old.exists() and not os.path.lexists(self.target)

    def put_back(self) -> None:
        """Move what was there before to where it was."""
        self.old.rename(self.target)


@contextlib.contextmanager
def workspace(target: Path) -> Iterator[Workspace]:
    """A new one with an empty folder ``new``; it goes when the block ends."""
    while True:
        made = tempfile.mkdtemp(prefix=f".{target.name}.beamgen-", dir=target.parent)
        work = Workspace(Path(made))
        try:
            stream = os.open(work.folder / "lock", os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            continue  # a sweep saw it before it was locked
        lock(stream, wait=True)
        if (work.folder / "lock").exists():
            break
        os.close(stream)
    try:
        work.new.mkdir()
        yield work
    finally:
        if work.interrupted:
            work.put_back()
        _remove(work)
        os.close(stream)
        shutil.rmtree(work.folder, ignore_errors=True)  # NFS keeps the name of an open file


def is_workspace(name: str) -> bool:
    """Whether a folder of that name is one."""
    return _NAME.fullmatch(name) is not None


def sweep(parent: Path) -> None:
    """Remove what killed runs left in a folder, and put back what one was about to replace.

    A line of the log tells of each.
    """
    for work in _workspaces(parent):
        with _dead(work) as dead:
            if dead and work.interrupted:
                _rescue(work)
            elif dead and work.new.exists() and work.old.exists():
                _LOG.warning("%s holds an older %s: look, and remove it", work.old, work.target)
                continue
            if dead:
                _remove(work)
                _LOG.warning("removed %s, which a killed run had left", work.folder)


def put_back(target: Path) -> None:
    """Put back the folder that a killed run was about to replace, where there is none now.

    Raises:
        PackageError: it is there, but may not be moved.
    """
    until = time.monotonic() + _PATIENCE
    while not os.path.lexists(target) and time.monotonic() < until:
        interrupted = [
            work
            for work in _workspaces(target.parent)
            if work.target.name == target.name and work.interrupted
        ]
        if not interrupted:
            return
        for work in interrupted:
            with _dead(work) as dead:
                if dead and work.interrupted:
                    _rescue(work)
        time.sleep(0.001)


def _rescue(work: Workspace) -> None:
    try:
        work.put_back()
    except OSError as error:
        raise PackageError(
            f"a run that was replacing {work.target} was killed, and what was there cannot be put "
            f"back: {error.strerror}",
            f"mv {shlex.quote(str(work.old))} {shlex.quote(str(work.target))}",
        ) from error
    _LOG.warning("put %s back: a run that was replacing it was killed", work.target)


def _workspaces(parent: Path) -> list[Workspace]:
    """Those in a folder; none where it cannot be listed."""
    try:
        names = sorted(filter(is_workspace, os.listdir(parent)))
    except OSError:
        return []
    return [Workspace(parent / name) for name in names if _is_ours(parent / name)]


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds nothing that a workspace does not."""
    try:
        return not folder.is_symlink() and set(os.listdir(folder)) <= _PARTS
    except OSError:
        return False


@contextlib.contextmanager
def _dead(work: Workspace) -> Iterator[bool]:
    """Whether its process is dead; not if it has gone, or is another user's. It is held so long."""
    try:
        stream = os.open(work.folder / "lock", os.O_RDWR | os.O_CREAT)
    except OSError:
        yield False
        return
    try:
        yield lock(stream, wait=False) and (work.folder / "lock").exists()
    finally:
        os.close(stream)


def _remove(work: Workspace) -> None:
    """Remove all, the lock last: without it nobody would know the rest to be dead."""
    for part in (work.new, work.old, work.folder):
        shutil.rmtree(part, ignore_errors=True)
