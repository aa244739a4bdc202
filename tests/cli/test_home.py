"""``~`` is the home folder wherever a path is taken, quoted or not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from beamgen import BeamgenError, Package, describe, export, open_package, package_as, quantize
from beamgen.cli import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where one does not stand: a folder called ``~`` would show."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    assert list((tmp_path / "here").iterdir()) == []


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_export(home: Path, checkpoints: Callable[[str], Path]) -> None:
    shutil.copytree(checkpoints("gpt2"), home / "ck")
    _run("export", "-m", "~/ck", "--output=~/deep/pk", "--no-parity")
    assert open_package("~/deep/pk").folder == home / "deep" / "pk"
    with pytest.raises(BeamgenError, match="deep/pk exists"):
        export("~/ck", "~/deep/pk", parity=False)


def test_files_that_commands_read_and_write(home: Path, demos: Callable[[str], Package]) -> None:
    (home / "pk").symlink_to(demos("gpt2").folder)
    (home / "prompts").write_text("a bird is\n")
    (home / "labels").write_text(" a large plant\n a small animal\n")
    lines = _run(
        "generate", "-m", "~/pk", "-f", "~/prompts", "--catalogue", "~/labels",
        "--max-new-tokens", "8", "--json",
    ).splitlines()  # fmt: skip
    assert [json.loads(line)["prompt"] for line in lines] == ["a bird is"]
    _run("explain", "-m", "~/pk", "-p", "a", "--max-new-tokens", "1", "-o", "~/beams.svg")
    assert (home / "beams.svg").read_text().startswith("<svg")
    _run("package", "triton", "-m", "~/pk", "-o", "~/site", "--batching", "simple")
    assert (home / "site" / "config.pbtxt").is_file()
    assert describe("~/pk", providers=False).file == home / "pk" / "model.onnx"


def test_outputs_are_refused_where_they_are(home: Path, packages: Callable[[str], Package]) -> None:
    (home / "taken").mkdir()
    (home / "taken" / "notes.txt").touch()
    for work in (
        lambda: quantize(packages("gpt2"), "~/taken", precision="fp16"),
        lambda: package_as(packages("gpt2"), "triton", "~/taken"),
        lambda: export(packages("gpt2").folder, "~/taken"),
    ):
        with pytest.raises(BeamgenError, match=f"{home}/taken exists and is not a"):
            work()


@pytest.mark.parametrize(
    "arguments",
    [
        ("finetune", "--model-class", "gpt2", "--data", "~/none.jsonl"),
        ("quantize", "~/none"),
        ("lora", "convert", "~/none", "-m", "~/none"),
        ("lora", "check", "~/none.onnx_adapter", "-m", "~/none"),
        ("inspect", "-m", "~/none"),
        ("export", "--lora", "~/none"),
    ],
)
def test_inputs_are_looked_for_there(arguments: tuple[str, ...], home: Path) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert f"{home}/none" in result.stderr or "~/none" in result.stderr
    assert "internal error" not in result.stderr


def test_an_unknown_home_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BeamgenError, match="~nobody-here/pk is not a beamgen package"):
        open_package("~nobody-here/pk")
