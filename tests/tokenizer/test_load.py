from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from beamgen import BeamgenError, find_adapter, open_checkpoint
from beamgen.checkpoint.checkpoint import demo_checkpoint
from beamgen.errors import MissingExtraError
from beamgen.tokenizer.load import load_tokenizer


def test_without_tokenizer_files_there_is_none(checkpoints: Callable[[str], Path]) -> None:
    folder = checkpoints("gpt2")
    assert not open_checkpoint(folder).has_tokenizer
    assert load_tokenizer(folder) is None


def test_a_broken_tokenizer_is_an_error_not_an_absence(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "copy"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2TokenizerFast"}')
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(BeamgenError, match="cannot load the tokenizer"):
        load_tokenizer(folder)


def test_a_tokenizer_names_the_extra_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = demo_checkpoint(find_adapter("biogpt")).folder
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(MissingExtraError) as caught:
        load_tokenizer(folder)
    assert caught.value.cause.endswith("needs the package 'sacremoses', which is not installed")
    assert caught.value.cure == "pip install 'beamgen[biogpt]'"
