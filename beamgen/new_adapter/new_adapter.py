"""A new adapter is drafted, written, and held against the conformance suite."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from beamgen.disk import local, write_text
from beamgen.errors import AdapterError, NoAdapterError
from beamgen.new_adapter.draft import draft
from beamgen.new_adapter.text import adapter_text
from beamgen.registry import find_adapter, forgotten_afterwards
from beamgen.testing import check_adapter

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class NewAdapter:
    """A file that was written, and what the suite says of it.

    Attributes:
        name: the adapter's.
        file: its module.
        passed: a line for each check, where all hold.
        failed: a line for each that does not.
        checks: how many there are.
    """

    name: str
    file: Path
    passed: Sequence[str]
    failed: Sequence[str]
    checks: int


def new_adapter(
    name: str, model_type: str, output: str | os.PathLike[str] | None = None
) -> NewAdapter:
    """Write an adapter for an architecture of transformers, and run the conformance suite on it.

    Args:
        name: what the adapter is to be called.
        model_type: the architecture's, as in a checkpoint's ``config.json``.
        output: the file to write; None is ``NAME.py`` in the current folder.

    Raises:
        AdapterError: the file is there, an adapter has one of its names, or transformers has no
            such decoder.
    """
    if not _NAME.fullmatch(name):
        raise AdapterError(
            f"'{name}' is no name for an adapter", "take small letters, digits, - and _"
        )
    file = local(output if output is not None else f"{name.replace('-', '_')}.py")
    if os.path.lexists(file):
        raise AdapterError(f"{file} exists", "pass --output FILE with another name")
    if not file.parent.is_dir():
        raise AdapterError(f"there is no folder {file.parent}", "make it, or pass another --output")
    for asked in (name, model_type):
        _check_new(asked)
    text = adapter_text(name, draft(model_type))
    write_text(file, text)
    with forgotten_afterwards(), _imported(file):
        try:
            passed = check_adapter(name)
        except AdapterError as error:
            failed = error.cause.partition(" checks: ")[2].split(" | ")
            checks = int(error.cause.partition(" checks: ")[0].rpartition(" ")[2])
            return NewAdapter(name, file, [], failed, checks)
    return NewAdapter(name, file, passed, [], len(passed))


def _check_new(asked: str) -> None:
    try:
        known = find_adapter(asked)
    except NoAdapterError:
        return
    raise AdapterError(
        f"'{asked}' has an adapter already: {known.name} in {type(known).__module__}",
        "export with that one, or take another name",
    )


@contextmanager
def _imported(file: Path) -> Iterator[None]:
    """Import a file that no package has yet; what it defines is forgotten afterwards."""
    module = f"_new_adapter_{file.stem}"
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None, "the file was just written"
    assert spec.loader is not None, "it is one of Python"
    sys.modules[module] = loaded = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(loaded)
        yield
    finally:
        del sys.modules[module]
