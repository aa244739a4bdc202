"""A new folder takes an old one's place, in one step of the system's where it has one."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from beamgen.disk import flush, flush_all

#: What a system, a file system or a sandbox answers that cannot exchange two folders.
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENOTSUP}

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2

#: How often a place is tried for that others write to, too.
_TRIES = 100


def put_in_place(new: Path, target: Path, aside: Path) -> None:
    """Let ``new`` be ``target``; what was there comes to be at ``new`` or ``aside``.

    Where two folders can be exchanged there is one at ``target`` at any time. Else the old
    one is moved to ``aside`` first, and comes back if the second rename fails; between the
    two renames a kill leaves both ``new`` and ``aside``.

    Raises:
        OSError: neither is possible; all is as it was.
    """
    if os.path.lexists(target):
        flush_all(new)  # what was there goes for good
        try:
            exchange(new, target)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            _move(new, target, aside)
        flush(target.parent)
    else:
        new.rename(target)


def exchange(one: Path, other: Path) -> None:
    """Exchange two folders of one file system, atomically.

    Raises:
        OSError: ``ENOSYS`` or another of ``_CANNOT`` where that cannot be done.

    Source: renameat2(2), ``RENAME_EXCHANGE``; renamex_np(2) of macOS, ``RENAME_SWAP``.
    """
    # Python's own renames tell audit hooks
    sys.audit("os.rename", os.fspath(one), os.fspath(other), -1, -1)
    names = os.fsencode(one), os.fsencode(other)
    libc: Any = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*names, _RENAME_SWAP)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


def _move(new: Path, target: Path, aside: Path) -> None:
    """Two renames, again where another process was faster."""
    for _ in range(_TRIES):
        try:
            with contextlib.suppress(FileNotFoundError):  # another has moved it aside
                target.rename(aside)
            new.rename(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(aside, ignore_errors=True)  # the other's is there in its stead
        finally:
            if aside.exists() and not os.path.lexists(target):
                aside.rename(target)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(target))
