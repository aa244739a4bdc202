"""Pages of a mapped file leave the process again once they were read.

ONNX Runtime maps external data, packs each weight into memory of its own, and keeps the map. The
pages that it read count as the process's, though nobody reads them again: twice the weights at
the peak. Without them it is once. The kernel keeps what it has read of the file all the same, and
gives a page back to whoever reads it after all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_MAPS = Path("/proc/self/maps")

#: Seconds between two looks: a process reads some 50 MB meanwhile.
_EVERY = 0.05

#: From Linux' ``mman.h``.
_MADV_DONTNEED = 4


@contextlib.contextmanager
def pages_let_go(file: Path) -> Iterator[None]:
    """While this lasts, and at its end, pages of a mapped file do not stay in this process.

    Does nothing where there is no such file, or no ``/proc/self/maps``.
    """
    if not (file.exists() and _MAPS.exists()):
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY):
            let_pages_go(file)

    watcher = threading.Thread(target=watch, name="beamgen-pages", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        let_pages_go(file)


def let_pages_go(file: Path) -> None:
    """Let go of those that there are now.

    ONNX Runtime writes to none of them: a weight is the same in each run. What a process did
    write into a map of its own would be lost.

    Source: Linux, ``madvise(2)``: of a map of a file MADV_DONTNEED takes the pages out of the
    process, and what is read again comes from the file.
    """
    try:
        maps = _MAPS.read_text(encoding="utf-8", errors="replace")
        madvise = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    real = os.path.realpath(file)
    for line in maps.splitlines():
        addresses, *_, name = line.split(maxsplit=5)
        if name == real:
            begin, end = (int(address, 16) for address in addresses.split("-"))
            madvise(begin, end - begin, _MADV_DONTNEED)
