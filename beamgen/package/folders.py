"""Output folders: what may be replaced, and the one rename that does it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from beamgen.errors import PackageError


@contextlib.contextmanager
def new_folder(target: Path, *, mark: str, kind: str, force: bool) -> Iterator[Path]:
    """A folder to fill, which becomes ``target`` when the block ends well.

    Nothing half-written is ever at ``target``: the folder is built beside it and
    moved there in one rename. With ``force`` an existing one is moved aside first and
    comes back if the rename fails.

    Args:
        target: the folder to be written.
        mark: a file that every folder of this kind holds.
        kind: what it is called.
        force: whether an existing one is replaced.

    Raises:
        PackageError: see ``check_replaceable``; or it cannot be written.
    """
    check_replaceable(target, mark=mark, kind=kind, force=force)
    made = [parent for parent in target.absolute().parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        build = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise PackageError(
            f"cannot write beside {target}: {error.strerror}", "choose another --output"
        ) from error
    try:
        yield build
        build.chmod(0o755)
        # another command may have been faster
        check_replaceable(target, mark=mark, kind=kind, force=force)
        move_into_place(build, target)
    finally:
        shutil.rmtree(build, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):  # it holds the new folder
                parent.rmdir()


def check_replaceable(target: Path, *, mark: str, kind: str, force: bool) -> None:
    """Refuse an output folder early, before any work is done.

    Args:
        target: the folder to be written.
        mark: a file that every folder of this kind holds.
        kind: what it is called.
        force: whether an existing one is replaced.

    Raises:
        PackageError: it exists and ``force`` was not given, or it exists and is of
            another kind, which force does not replace either.
    """
    if target.resolve() == Path.cwd():
        raise PackageError(
            "the current folder would have to be replaced", "name a folder in it: --output ./NAME"
        )
    if target.is_symlink():
        raise PackageError(f"{target} is a symbolic link", "name the folder itself as --output")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / mark).is_file():
        raise PackageError(
            f"{target} exists and is not a {kind}, so it will not be replaced",
            "choose another --output",
        )
    if not force:
        raise PackageError(f"{target} exists", "pass --force to replace it, or another --output")


def move_into_place(new: Path, target: Path) -> None:
    """One rename; what was there is moved aside first and comes back if it fails."""
    if not target.exists():
        new.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        target.rename(aside / "previous")
        try:
            new.rename(target)
        except OSError:
            (aside / "previous").rename(target)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
