"""The tokenizer beside a checkpoint's weights, or in a package: text becomes ids, and back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.errors import CheckpointError, MissingExtraError, extra_with, missing_module, one_line
from beamgen.tokenizer.files import has_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(
    folder: Path, *, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase | None:
    """The tokenizer in a folder, or None where there are no tokenizer files.

    Raises:
        MissingExtraError: they need a package that one of beamgen's extras brings.
        CheckpointError: there are files, but they do not load.
    """
    if not has_tokenizer(folder):
        return None
    with _no_advice():
        from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:  # each tokenizer library fails in its own way
        missing = missing_module(error)
        extra = missing and extra_with(missing)
        if missing and extra:
            raise MissingExtraError(f"the tokenizer in {folder}", extra, missing) from error
        raise CheckpointError(
            f"cannot load the tokenizer in {folder}: {one_line(error)}",
            "install what it names, or remove the tokenizer files and pass token ids",
        ) from error
    return tokenizer


@contextlib.contextmanager
def _no_advice() -> Iterator[None]:
    """Keep transformers from advising, on import, to install torch: a tokenizer needs none."""
    name = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
