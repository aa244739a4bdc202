"""The files of a package are held against its manifest."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from beamgen.disk import partial_name
from beamgen.errors import PackageError

_CHUNK = 1 << 22  # bytes hashed at a time

Fingerprint = dict[str, Any]


def fingerprint(path: Path) -> Fingerprint:
    """SHA-256 and size in bytes, as a manifest has them."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return {"sha256": digest.hexdigest(), "bytes": path.stat().st_size}


def settle(folder: Path, files: Mapping[str, Fingerprint]) -> None:
    """Move files to their places that a manifest has already, and a kill kept from there."""
    for name, expected in files.items():
        path = folder / name
        partial = partial_name(path)
        if partial.is_file() and not _is(path, expected) and _is(partial, expected):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                partial.replace(path)


def _is(path: Path, expected: Fingerprint) -> bool:
    there = path.is_file() and path.stat().st_size == expected["bytes"]
    return there and fingerprint(path) == expected


def check_files(folder: Path, files: Mapping[str, Fingerprint], *, verify: bool) -> None:
    """Refuse a package whose files are not those of its manifest.

    Args:
        folder: the package.
        files: what the manifest says of them.
        verify: compare their content; else only what could not be opened without harm,
            such as a named pipe, is refused.

    Raises:
        PackageError: with all that is wrong.
    """
    odd = [f"{name} is no regular file" for name in files if _is_odd(folder / name)]
    if odd:
        raise PackageError(
            f"{folder} is damaged or was edited: {'; '.join(odd)}", "copy or export it again"
        )
    wrong = list(_wrong(folder, files)) if verify else []
    if wrong:
        raise PackageError(
            f"{folder} is damaged or was edited: {'; '.join(wrong)}",
            "copy or export it again; to take it as it is: "
            f"beamgen generate -m {shlex.quote(str(folder))} --no-verify",
        )


def _is_odd(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _wrong(folder: Path, files: Mapping[str, Fingerprint]) -> Iterator[str]:
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif not _lies_within(folder, path):
            yield f"{name} is a link out of the folder"
        elif path.stat().st_size != expected["bytes"]:
            yield f"{name} has {path.stat().st_size} bytes, not {expected['bytes']}"
        elif not os.access(path, os.R_OK):
            yield f"{name} may not be read"
        elif fingerprint(path)["sha256"] != expected["sha256"]:
            yield f"{name} was changed"


def _lies_within(folder: Path, path: Path) -> bool:
    """Whether a file is in the folder itself, or where the hub's cache keeps those of a folder."""
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    caches = [each.parent / "blobs" for each in home.parents if each.name == "snapshots"]
    return any(real.is_relative_to(each) for each in (home, *caches))
