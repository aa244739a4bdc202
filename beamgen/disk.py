"""Paths as people type them, and files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_PARTIAL = ".partial"


def local(path: str | os.PathLike[str]) -> Path:
    """The path that is meant, ``~`` being the home folder as in a shell."""
    return Path(os.path.expanduser(path))


def write_text(path: Path, text: str) -> None:
    """Write a file as UTF-8, in one rename: a reader finds the old text or the new."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of ``path`` when the block ends well.

    Whoever else would replace it waits for the block, which may thus read what is there
    and write something that depends on it.
    """
    with partial_of(path) as partial:
        yield partial
        flush(partial)
        partial.replace(path)


@contextlib.contextmanager
def partial_of(path: Path) -> Iterator[Path]:
    """A hidden file beside ``path`` that is this process's alone; it goes unless it was moved."""
    partial = partial_name(path)
    stream = _locked(partial)
    try:
        yield partial
    finally:
        if _is_at(partial, stream):
            partial.unlink(missing_ok=True)
        os.close(stream)


def partial_name(path: Path) -> Path:
    """Where what becomes ``path`` is written."""
    return path.with_name(f".{path.name}{_PARTIAL}")


def is_partial(name: str) -> bool:
    """Whether a file of that name is one of ``partial_of``."""
    return name.startswith(".") and name.endswith(_PARTIAL)


def sweep_partials(folder: Path) -> None:
    """Remove those in a folder whose process is dead."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_partial(path.name) and path.is_file():
            with contextlib.suppress(OSError):
                stream = os.open(path, os.O_RDWR)
                if lock(stream, wait=False) and _is_at(path, stream):
                    path.unlink()
                os.close(stream)


def _locked(path: Path) -> int:
    """Open a file of that name that nobody else holds, empty."""
    while True:
        stream = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        lock(stream, wait=True)
        if _is_at(path, stream):  # else its last holder moved or removed it
            os.truncate(stream, 0)
            return stream
        os.close(stream)


def _is_at(path: Path, stream: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(stream))
    except OSError:
        return False


def lock(stream: int, *, wait: bool) -> bool:
    """Hold an open file until it is closed, or its process is dead.

    Returns:
        Whether it is held; not if another process holds it and this one does not wait,
        nor where the file system has no locks.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def flush_all(folder: Path) -> None:
    """``flush`` a folder with all below it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            flush(Path(parent, name))
        flush(Path(parent))


def flush(path: Path) -> None:
    """Have a file's content, or a folder's names, where a power cut does not take it."""
    with contextlib.suppress(OSError):  # some file systems cannot
        stream = os.open(path, os.O_RDONLY)
        try:
            os.fsync(stream)
        finally:
            os.close(stream)
