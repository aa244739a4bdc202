"""The tokenizer beside a checkpoint's weights, or in a package."""

from __future__ import annotations

from pathlib import Path

from beamgen.errors import (
    BeamgenError,
    CheckpointError,
    MissingExtraError,
    extra_with,
    missing_module,
    one_line,
)
from beamgen.tokenizer.config import OtherKindError, class_name
from beamgen.tokenizer.fast import read_fast
from beamgen.tokenizer.files import has_tokenizer
from beamgen.tokenizer.hf import load_hf
from beamgen.tokenizer.moses import CLASSES as MOSES
from beamgen.tokenizer.moses import read_moses
from beamgen.tokenizer.spm import CLASSES as SPM
from beamgen.tokenizer.spm import read_spm
from beamgen.tokenizer.tokenizer import Tokenizer


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Tokenizer | None:
    """The tokenizer in a folder, or None where there are no tokenizer files.

    The kinds that are known are read without transformers; what it alone reads goes there.

    Raises:
        MissingExtraError: they need a package that one of beamgen's extras brings.
        CheckpointError: there are files, but they do not load.
    """
    if not has_tokenizer(folder):
        return None
    kind = ""
    try:
        try:
            return read_without_transformers(folder, trust_remote_code=trust_remote_code)
        except OtherKindError as reason:
            kind = f" ({reason})"
            return load_hf(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # each tokenizer library fails in its own way
        missing = missing_module(error)
        extra = missing and extra_with(missing)
        if missing and extra:
            raise MissingExtraError(f"the tokenizer in {folder}{kind}", extra, missing) from error
        raise CheckpointError(
            f"cannot load the tokenizer in {folder}: {one_line(error)}",
            "install what it names, or pass token ids",
        ) from error


def load_or_reason(folder: Path) -> tuple[Tokenizer | None, str | None]:
    """The tokenizer in a folder, or why there is none: in one line, where there are files."""
    try:
        return load_tokenizer(folder), None
    except BeamgenError as error:
        return None, error.cause


def read_without_transformers(folder: Path, *, trust_remote_code: bool = False) -> Tokenizer:
    """The tokenizer in a folder, of a kind that is known here.

    Raises:
        OtherKindError: it is of another.
        Exception: each tokenizer library's own, of damaged files.
    """
    name = class_name(folder, trust_remote_code=trust_remote_code)
    if name in MOSES:
        return read_moses(folder, name)
    return read_spm(folder, name) if name in SPM else read_fast(folder, name)
