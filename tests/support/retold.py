"""Demo packages with another tokenizer beside the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from beamgen import Generator, Package, open_package


def with_files(package: Package, folder: Path, **files: Any) -> Package:
    """A copy in which files of JSON have other fields; None takes a file away, text replaces it.

    Args:
        package: of a demo checkpoint.
        folder: where the copy is to be.
        files: by name, with ``_`` for the dot before ``json`` and ``jinja``.
    """
    shutil.copytree(package.folder, folder)
    for name, change in files.items():
        stem, _, suffix = name.rpartition("_")
        path = folder / f"{stem}.{suffix}"
        if change is None:
            path.unlink()
        elif isinstance(change, str):
            path.write_text(change)
        else:
            stored = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps({**stored, **change}))
    return open_package(folder, verify=False)


def generator_of(package: Package) -> Generator:
    """One that does not mind the hashes."""
    return Generator(package, verify=False)
