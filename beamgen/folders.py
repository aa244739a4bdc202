"""Output folders: what may be replaced, and the one rename that does it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from beamgen.errors import PackageError


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
