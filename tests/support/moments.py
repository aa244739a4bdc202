"""A process is killed at each moment at which it would change the disk.

Python tells an audit hook before it opens a file to write, renames, makes or removes; the
one call that it does not know, beamgen tells of itself. Run as a program it forks for each
moment: ``moments.py ROOT one-step|two-steps`` makes ``ROOT/N/thing``, of which the first
replacement ended well and the second was killed at moment N.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

_CHANGES = {
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def before_each_change(root: Path, act: Callable[[], None]) -> Callable[[], None]:
    """Call ``act`` before each change below a folder, until the function returned is called."""
    state = {"listening": True}

    def hook(event: str, arguments: tuple) -> None:
        if not state["listening"] or not _changes(event, arguments, root):
            return
        state["listening"] = False  # what it does is no change
        try:
            act()
        finally:
            state["listening"] = True

    sys.addaudithook(hook)  # for ever, so that it has to fall silent
    return lambda: state.update(listening=False)


def _changes(event: str, arguments: tuple, root: Path) -> bool:
    if event == "open":
        return bool((arguments[2] or 0) & _WRITES) and _below(arguments[0], root)
    # with a folder's descriptor paths are names: rmtree's
    return event in _CHANGES and (_below(arguments[0], root) or not _is_absolute(arguments[0]))


def _below(path: object, root: Path) -> bool:
    return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(str(root))


def _is_absolute(path: object) -> bool:
    return isinstance(path, int) or os.path.isabs(os.fsdecode(path))  # type: ignore[arg-type]


def _replace_and_die(folder: Path, moment: int) -> None:
    from package.test_folders import make_thing

    make_thing(folder / "thing", which="old", other="old")
    left = [moment]

    def die() -> None:
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)

    before_each_change(folder, die)
    make_thing(folder / "thing", which="new", other="new")
    os._exit(0)


def main(root: Path, way: str) -> None:
    from beamgen.package import exchange

    def refuse(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    if way == "two-steps":
        exchange.exchange = refuse
    status, moment = 9, 0
    while status:
        folder = root / str(moment)
        folder.mkdir()
        child = os.fork()
        if child == 0:
            _replace_and_die(folder, moment)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        moment += 1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(Path(sys.argv[1]), sys.argv[2])
