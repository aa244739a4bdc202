"""Whether a file was proved with the transformers that is installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import transformers
from click.testing import CliRunner

from beamgen import Package, describe, stamp_parity
from beamgen.cli import main
from beamgen.inspect import proof
from beamgen.inspect.proof import proof_of

HERE = transformers.__version__
EXACT = {"verdict": "exact", "cases": 12, "transformers": HERE}


@pytest.fixture
def package(packages: Callable[[str], Package], tmp_path: Path) -> Package:
    folder = Path(shutil.copytree(packages("gpt2").folder, tmp_path / "package"))
    return replace(packages("gpt2"), folder=folder)


def without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(proof.metadata, "version", missing)


@pytest.mark.parametrize(
    ("parity", "holds", "line"),
    [
        (EXACT, True, f"exact in 12 cases with transformers {HERE}, which is installed here"),
        ({**EXACT, "verdict": "near-tie"}, True, "near-tie in 12 cases"),
        ({**EXACT, "verdict": "contrib rule"}, True, "contrib rule in 12 cases"),
        ({**EXACT, "verdict": "diverged"}, False, "diverged in 12 cases"),
        ({**EXACT, "verdict": "nothing compared"}, False, "nothing compared in 12 cases"),
        (
            {**EXACT, "transformers": "4.57.0"},
            False,
            f"transformers 4.57.0; installed here is {HERE}, with which it was not compared",
        ),
        (None, None, "was not compared"),
    ],
)
def test_what_a_record_says_here(parity: dict | None, holds: bool | None, line: str) -> None:
    found = proof_of({}, parity)
    assert found.holds is holds
    assert found.installed == HERE
    assert line in str(found)


def test_without_transformers_what_it_was_proved_with(monkeypatch: pytest.MonkeyPatch) -> None:
    without_transformers(monkeypatch)
    found = proof_of({}, EXACT)
    assert (found.installed, found.holds) == (None, None)
    assert str(found) == f"exact in 12 cases with transformers {HERE}; none is installed here"
    assert str(proof_of({}, None)) == "was not compared"


def test_a_file_that_names_no_rules_follows_those_of_4_57() -> None:
    assert proof_of({}, None).rules == "4.57"
    assert proof_of({"rules": "5.24"}, None).rules == "5.24"


def test_the_command_and_its_json(package: Package) -> None:
    def inspect(*options: str) -> str:
        command = ["inspect", "-m", str(package.folder), "--no-load", *options]
        return CliRunner().invoke(main, command).output

    assert "parity:  was not compared\n" in inspect()
    stamp_parity(package, {**EXACT, "transformers": "4.56.2"})
    assert f"4.56.2; installed here is {HERE}, with which it was not compared\n" in inspect()
    assert "rules:   generate of transformers 4.57\n" in inspect()
    found = json.loads(inspect("--json"))["proof"]
    assert found == {
        "verdict": "exact", "cases": 12, "transformers": "4.56.2", "rules": "4.57",
        "installed": HERE, "holds": False,
    }  # fmt: skip
    assert describe(package.folder, providers=False).proof == proof_of(
        {}, {**EXACT, "transformers": "4.56.2"}
    )


def test_generate_warns_of_a_package_that_diverged_and_of_no_other(package: Package) -> None:
    command = ["generate", "-m", str(package.folder), "--ids", "5 9", "--max-new-tokens", "2"]
    for verdict in ("exact", "near-tie", "contrib rule"):
        stamp_parity(package, {**EXACT, "verdict": verdict})
        assert CliRunner().invoke(main, command).stderr == ""
    stamp_parity(package, {**EXACT, "verdict": "diverged"})
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0
    assert "diverged from transformers when it was compared; beamgen parity -m" in done.stderr
    assert len(done.stdout.splitlines()) == 1
