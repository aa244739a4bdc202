"""A module in the folder is a contestant, and nothing else has to know."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.benches import INSTALLED, SMALL

from beamgen import CONTESTANTS, bench
from beamgen.bench import contestants as package
from beamgen.bench.discovery import contestants, preparations
from beamgen.cli import main

#: It has a file of one byte, and says that token over and over.
MODULE = """
from beamgen.bench.contestant import Contestant

def prepare(workspace, folder):
    folder.mkdir()
    (folder / "token").write_text("7")

def load(workspace, task):
    token = int((workspace.files("parrot") / "token").read_text())
    return lambda ids, new_tokens: [[token] * new_tokens for _ in ids]

PREPARATIONS = {"parrot": prepare}
CONTESTANTS = (Contestant(name="parrot", load=load, needs=("parrot",), requires=("numpy",)),)
"""


def test_every_contestant_has_its_preparations() -> None:
    assert tuple(contestants()) == CONTESTANTS
    assert CONTESTANTS[0] == "transformers"
    assert set(INSTALLED) <= set(CONTESTANTS)
    for contestant in contestants().values():
        assert set(contestant.needs) <= set(preparations())
        assert contestant.requires


@pytest.fixture
def parrot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One more file in the folder of the contestants."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "parrot.py").write_text(MODULE)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "folder")])
    contestants.cache_clear()
    preparations.cache_clear()
    yield
    contestants.cache_clear()
    preparations.cache_clear()


@pytest.mark.usefixtures("parrot")
def test_a_new_contestant_is_one_file(jobs_in_process, checkpoints) -> None:
    report = bench(checkpoints("gpt2"), against=["parrot"], **SMALL)
    row = report.results[0].row("parrot")
    assert (row.verdict, row.file_bytes) == ("other tokens", 1)
    assert "numpy" in report.versions
    refused = CliRunner().invoke(main, ["bench", "--against", "parot"])
    assert "did you mean parrot" in refused.stderr


def test_a_contestant_that_runs_with_one_transformers_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = importlib.import_module("beamgen.bench.contestant")
    monkeypatch.setattr(module, "version", lambda name: "5.24.0")
    assert contestants()["ortmodel"].missing == ["'transformers==4.57.*'"]
    assert contestants()["transformers"].missing == []
    monkeypatch.setattr(module, "version", lambda name: "4.57.6")
    assert contestants()["ortmodel"].missing == []
