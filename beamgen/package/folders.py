"""Output folders: what may be replaced, and how one takes the place of another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from beamgen.disk import is_partial, write_text
from beamgen.errors import PackageError
from beamgen.package.exchange import put_in_place
from beamgen.package.json_file import JsonError, read_json, to_text
from beamgen.package.workspace import put_back, sweep, workspace

_ELSEWHERE = "choose another --output"

#: What desktops leave in any folder.
_JUNK = {".DS_Store", ".directory", "Thumbs.db", "desktop.ini"}

#: Names that a message lists.
_SHOWN = 3


@dataclass(frozen=True)
class Kind:
    """A kind of folder that beamgen writes, and may replace.

    Attributes:
        title: what it is called.
        mark: a file that every folder of this kind holds.
        record: the JSON file whose ``files`` names those that belong to the folder; by
            default the mark.
        others: files that belong to a folder without such a record.
    """

    title: str
    mark: str
    record: str = ""
    others: frozenset[str] = frozenset()

    @property
    def recorded_in(self) -> str:
        """The file that names the folder's files."""
        return self.record or self.mark


@contextlib.contextmanager
def new_folder(
    target: Path, kind: Kind, *, force: bool, inputs: Iterable[Path] = ()
) -> Iterator[Path]:
    """A folder to fill, which becomes ``target`` when the block ends well.

    Nothing half-written is ever at ``target``: the folder is made beside it, and takes the
    place of an existing one in one exchange. What killed runs left beside it is removed.

    Args:
        target: the folder to be written.
        kind: of it.
        force: whether an existing one is replaced.
        inputs: files and folders of which it is made.

    Raises:
        PackageError: see ``check_replaceable``; or it cannot be written.
    """
    check_replaceable(target, kind, force=force, inputs=(inputs := list(inputs)))
    made = [parent for parent in target.absolute().parents if not parent.exists()]
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep(target.parent)
            work = stack.enter_context(workspace(target))
        except OSError as error:
            raise PackageError(
                f"cannot write beside {target}: {error.strerror}", _ELSEWHERE
            ) from error
        yield work.new
        # another command may have been faster
        check_replaceable(target, kind, force=force, inputs=inputs)
        try:
            put_in_place(work.new, target, work.old)
        except OSError as error:
            raise PackageError(
                f"cannot put the new folder at {target}: {error.strerror}", _ELSEWHERE
            ) from error


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # it holds the new folder
            folder.rmdir()


def check_replaceable(
    target: Path, kind: Kind, *, force: bool, inputs: Iterable[Path] = ()
) -> None:
    """Refuse an output folder early, before any work is done.

    Args:
        target: the folder to be written.
        kind: of it.
        force: whether an existing one is replaced.
        inputs: files and folders of which it is made.

    Raises:
        PackageError: it exists and ``force`` was not given; or it would take along what is
            read, the current folder, or files that are not its own; or it is of another kind;
            or its name is no UTF-8.
    """
    check_name(target)
    put_back(target)
    if holds(target, Path.cwd()):
        raise PackageError(
            "the current folder would have to be replaced", "name a folder in it: --output ./NAME"
        )
    if target.is_symlink():
        raise PackageError(f"{target} is a symbolic link", "name the folder itself as --output")
    if not os.path.lexists(target):
        return
    if target.is_dir() and not any(target.iterdir()):
        return
    if not (target / kind.mark).is_file():
        raise PackageError(
            f"{target} exists and is not a {kind.title}, so it will not be replaced", _ELSEWHERE
        )
    for given in inputs:
        check_outside(target, given)
    if not force:
        raise PackageError(f"{target} exists", "pass --force to replace it, or another --output")
    foreign = _foreign(target, _own_files(target, kind))
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise PackageError(
            f"{target} holds files that are not of the {kind.title}: "
            f"{', '.join(foreign[:_SHOWN])}{more}",
            f"move them elsewhere, or {_ELSEWHERE}",
        )


def check_name(folder: Path) -> None:
    """Refuse a path that ONNX Runtime cannot open, for it takes UTF-8 alone.

    Raises:
        PackageError: bytes of its name are none.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        shown = str(folder).encode(errors="backslashreplace").decode()
        raise PackageError(
            f"the name of the folder {shown} is not UTF-8, and ONNX Runtime opens no other",
            "rename it, or go into it and name it as . there",
        ) from None


def check_outside(target: Path, given: Path) -> None:
    """Refuse to replace a folder that holds what is read, be it by way of links.

    A hub id leads nowhere, and passes.

    Raises:
        PackageError: it does.
    """
    links = [each for each in given.iterdir() if each.is_symlink()] if given.is_dir() else []
    for path in (given, *links):
        if path.exists() and holds(target, path):
            raise PackageError(
                f"{path} is read, and lies in {target}, which would be replaced", _ELSEWHERE
            )


def holds(folder: Path, path: Path) -> bool:
    """Whether a path leads to a folder or to what is below it, however both are spelled."""
    real = Path(os.path.realpath(path))
    for each in (real, *real.parents):
        with contextlib.suppress(OSError):
            if os.path.samefile(folder, each):
                return True
    return False


def note_files(folder: Path, kind: Kind) -> None:
    """Write down which files belong to a folder, in the file that its kind has for that."""
    path = folder / kind.recorded_in
    values = read_json(path) | {"files": sorted(_files(folder))}
    write_text(path, to_text(values))


def _own_files(target: Path, kind: Kind) -> frozenset[str]:
    """Names of the files that a folder's record says are its own.

    Raises:
        PackageError: there is none, or it does not say.
    """
    record = target / kind.recorded_in
    always = kind.others | {kind.mark, kind.recorded_in}
    if kind.record and not record.exists():
        return always
    try:
        files = read_json(record).get("files")
        if isinstance(files, dict | list):
            return always | {name for name in files if isinstance(name, str)}
        reason = "does not say which files are the folder's own"
    except (JsonError, OSError) as error:
        reason = f"is damaged: {error}"
    raise PackageError(
        f"{record} {reason}, so it will not be replaced",
        f"keep what is yours, and remove {target}; or {_ELSEWHERE}",
    )


def _foreign(target: Path, own: frozenset[str]) -> list[str]:
    """Names of files that are somebody else's; desktops' and our own leftovers are nobody's."""
    return [
        name
        for name in _files(target)
        if name not in own and not _is_nobodys(name.rpartition("/")[2])
    ]


def _is_nobodys(name: str) -> bool:
    return name in _JUNK or name.startswith("._") or is_partial(name)


def _files(folder: Path) -> Iterator[str]:
    """Names of all files below a folder, links counting as such, in order."""

    def refuse(error: OSError) -> None:
        raise PackageError(
            f"cannot look into {error.filename}: {error.strerror}", "check its permissions"
        ) from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(folders)
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in sorted([*names, *links]):
            yield Path(parent, name).relative_to(folder).as_posix()
