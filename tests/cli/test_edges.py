"""The command line where things go wrong late, or are given in an odd way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from beamgen import Package, find_adapter, open_package
from beamgen.cli import main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """In a folder that holds nothing but what the test puts there."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return lambda *arguments, **options: CliRunner().invoke(
        main, [str(argument) for argument in arguments], **options
    )


def _tree(folder: Path) -> list[str]:
    """Everything below a folder, hidden files too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON outside Python")


def _error(result: Result) -> list[str]:
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()[-2:]
    assert [line[:7] for line in lines] == ["error: ", "  fix: "]
    assert "internal error" not in result.stderr
    return lines


@pytest.fixture
def damaged(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    """A checkpoint whose fault shows only when its weights are read."""
    folder = Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "damaged"))
    (folder / "model.safetensors").write_bytes(b"no weights")
    return folder


@pytest.mark.parametrize("output", ["package", "a/b/package"])
def test_an_export_that_fails_late_leaves_nothing(
    run: Callable[..., Result], damaged: Path, output: str
) -> None:
    assert "cannot load the weights" in _error(run("export", "-m", damaged, "-o", output))[0]
    assert _tree(Path()) == []


def test_an_export_that_fails_late_leaves_the_old_package(
    run: Callable[..., Result], damaged: Path, packages: Callable[[str], Package]
) -> None:
    shutil.copytree(packages("gpt2").folder, "package")
    before = {name: Path(name).read_bytes() for name in _tree(Path()) if Path(name).is_file()}
    _error(run("export", "-m", damaged, "-o", "package", "--force"))
    after = {name: Path(name).read_bytes() for name in _tree(Path()) if Path(name).is_file()}
    assert after == before


def test_folders_on_the_way_to_the_output_are_made(
    run: Callable[..., Result], checkpoints: Callable[[str], Path]
) -> None:
    result = run("export", "-m", checkpoints("gpt2"), "-o", "a/b/package", "--no-parity")
    assert result.exit_code == 0, result.output
    open_package("a/b/package")
    assert sorted(os.listdir("a/b")) == ["package"]


def test_an_export_that_diverges_exits_with_3_and_stays_to_be_looked_into(
    run: Callable[..., Result], checkpoints: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter whose replacement layers are not equal to the model's."""

    def prepare(self, model) -> None:
        model.transformer.h[1].mlp.c_proj.weight.data.mul_(-1.0)

    monkeypatch.setattr(type(find_adapter("gpt2")), "prepare", prepare)
    result = run("export", "-m", checkpoints("gpt2"), "-o", "package", "--json")
    assert result.exit_code == 3, result.output
    values = json.loads(result.stdout, parse_constant=_no_json)
    assert values["parity"]["verdict"] == "diverged"
    assert len(values["parity"]["partings"]) >= values["parity"]["diverged"] > 0
    assert open_package("package").manifest.parity["verdict"] == "diverged"


def test_a_prompt_of_ones_own_is_a_further_case(run: Callable[..., Result]) -> None:
    demo = find_adapter("gpt2").demo
    run("export", "-m", demo, "-o", "package", "--no-parity", "--max-new-tokens", "5")
    result = run("parity", "-m", "package", "-p", "a person who", "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["cases"], values["verdict"]) == (13, "exact")


def test_null_resets_a_field_and_is_not_passed_over(
    run: Callable[..., Result], checkpoints: Callable[[str], Path]
) -> None:
    model = ("-m", checkpoints("gpt2"), "-o", "package", "--no-parity", "--json")
    assert "has no default" in _error(run("export", *model, "--set", "eos_token_id=null"))[0]
    result = run("export", *model, "--set", "pad_token_id=null")
    assert json.loads(result.stdout)["search"]["pad_token_id"] == 2, "HF falls back to the EOS id"


@pytest.mark.parametrize(
    ("pair", "cause"),
    [
        ("eos_token_id=2.5", "token ids must be whole numbers of at least 0, not 2.5"),
        ("length_penalty=true", "length_penalty must be a finite number, not True"),
        ("num_beams=many", "num_beams must be a whole number of at least 1, not 'many'"),
        ("early_stopping=1", "early_stopping must be False, True or"),
        ("max_length=1", "leaves nothing to generate"),
        ("max_length=257", "max_length 257 is more than the model's 256 positions hold"),
        ("max_new_tokens=256", "max_new_tokens 256 is more than the model's 256 positions hold"),
    ],
)
def test_values_that_make_no_sense_are_errors_not_bugs(
    run: Callable[..., Result], checkpoints: Callable[[str], Path], pair: str, cause: str
) -> None:
    result = run("export", "-m", checkpoints("gpt2"), "-o", "package", "--set", pair)
    assert cause in _error(result)[0]
    assert _tree(Path()) == []


def test_prompts_in_another_encoding_are_refused(
    run: Callable[..., Result], packages: Callable[[str], Package]
) -> None:
    Path("latin.txt").write_bytes("café au lait\n".encode("latin-1"))
    result = run("generate", "-m", packages("gpt2").folder, "-f", "latin.txt")
    assert "latin.txt is not UTF-8" in _error(result)[0]


def test_stdout_is_json_and_nothing_else(
    run: Callable[..., Result], packages: Callable[[str], Package]
) -> None:
    result = run(
        "generate", "-m", packages("gpt2").folder, "--ids", "5 9 7", "--ids", "8,3", "--json",
        "--num-return-sequences", "2", "--max-new-tokens", "4",
    )  # fmt: skip
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["prompt"] for row in rows] == [[5, 9, 7], [8, 3]]
    for row in rows:
        assert [h["prompt_ids"] for h in row["hypotheses"]] == [row["prompt"]] * 2
        assert all(h["text"] is None and h["score"] < 0 for h in row["hypotheses"])


def test_a_reader_that_stops_early_is_no_error(packages: Callable[[str], Package]) -> None:
    """As `| head` does."""
    arguments = ["generate", "-m", str(packages("gpt2").folder), "--max-new-tokens", "1"]
    arguments += ["--batch-size", "1", *(["--ids", "5 9 7"] * 40)]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "beamgen", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == ""
