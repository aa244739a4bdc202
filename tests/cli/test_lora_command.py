"""``beamgen lora`` and the LoRA options of the other commands, as typed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.peft_folders import save_lora

from beamgen import Package, export, open_package
from beamgen.cli import main


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _fails(*arguments: object) -> tuple[str, str]:
    """Cause and cure."""
    result = _run(*arguments)
    assert result.exit_code == 1, result.output
    cause, cure = result.stderr.splitlines()
    return cause.removeprefix("error: "), cure.removeprefix("  fix: ")


@pytest.fixture(scope="module")
def lora(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lora(checkpoints("gpt2"), tmp_path_factory.mktemp("lora") / "own", seed=1)


@pytest.fixture(scope="module")
def _slots(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Package:
    return export(
        checkpoints("gpt2"),
        tmp_path_factory.mktemp("slots") / "package",
        parity=False,
        settings={"max_new_tokens": 6},
        lora_slots=[],
    ).package


@pytest.fixture
def package(_slots: Package, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(_slots.folder, tmp_path / "package"))


def test_check_convert_list_generate_remove(lora: Path, package: Path) -> None:
    checked = _run("lora", "check", lora, "-m", package)
    assert checked.exit_code == 0
    assert "fits" in checked.output
    assert "rank 4 on 2 c_attn, 2 c_fc, 4 c_proj; the package has 8 slots" in checked.output

    base = _run("generate", "-m", package, "--ids", "5 6 7").output
    converted = _run("lora", "convert", lora, "-m", package)
    assert converted.exit_code == 0, converted.output
    assert "own: parity with transformers + peft: exact (12 cases" in converted.output
    assert open_package(package).manifest.loras["own"]["parity"]["verdict"] == "exact"

    listed = json.loads(_run("lora", "list", "-m", package, "--json").output)
    (row,) = listed["loras"]
    assert (row["name"], row["ranks"], row["layers"]) == (
        "own",
        [4],
        {"c_attn": 2, "c_fc": 2, "c_proj": 4},
    )
    assert len(listed["slots"]) == 8
    assert (
        "LoRAs: 1; slots: 8, on 2 c_attn, 2 c_fc, 4 c_proj"
        in _run("lora", "list", "-m", package).output
    )

    adapted = _run("generate", "-m", package, "--ids", "5 6 7", "--lora", "own").output
    assert adapted != base
    assert _run("generate", "-m", package, "--ids", "5 6 7").output == base
    cause, cure = _fails("generate", "-m", package, "--ids", "5 6 7", "--lora", "owm")
    assert (cause, cure) == ("there is no LoRA called 'owm'", "did you mean own?")

    assert _fails("lora", "convert", lora, "-m", package)[1].startswith("pass --force")
    removed = _run("lora", "remove", "own", "-m", package)
    assert removed.exit_code == 0
    assert "LoRAs: 0" in _run("lora", "list", "-m", package).output
    assert _fails("lora", "remove", "own", "-m", package)[0] == "there is no LoRA called 'own'"


def test_check_tells_what_does_not_fit(
    checkpoints: Callable[[str], Path], package: Path, tmp_path: Path
) -> None:
    other = save_lora(checkpoints("phi3"), tmp_path / "other")
    result = _run("lora", "check", other, "-m", package)
    assert result.exit_code == 3
    assert "model.layers.0.mlp.down_proj.lora_A.weight has no slot in the package" in result.output
    assert "fix: take a LoRA that was trained on the package's base model" in result.output
    assert "note: it says that it was trained on" in result.output
    report = json.loads(_run("lora", "check", other, "-m", package, "--json").output)
    assert not report["fits"]
    assert len(report["problems"]) == 8
    assert _fails("lora", "check", tmp_path / "none", "-m", package)[0].startswith("there is no")
    dora = save_lora(checkpoints("gpt2"), tmp_path / "dora", use_dora=True)
    cause, cure = _fails("lora", "check", dora, "-m", package)
    assert "DoRA, use_dora=true" in cause
    assert cure == f"merge it instead: beamgen export --lora {dora}"


def test_a_package_without_slots_says_how_to_get_them(
    lora: Path, packages: Callable[[str], Package]
) -> None:
    folder = packages("gpt2").folder
    assert "export the checkpoint with --lora-slots" in _run("lora", "list", "-m", folder).output
    assert _fails("lora", "convert", lora, "-m", folder)[1] == (
        "export the checkpoint with --lora-slots"
    )


def test_export_merges_or_keeps(
    checkpoints: Callable[[str], Path], lora: Path, tmp_path: Path
) -> None:
    merged = _run("export", "-o", tmp_path / "m", "--lora", lora)  # which names its base model
    assert merged.exit_code == 0, merged.output
    assert f"merged: the LoRA {lora}" in merged.output
    assert "parity with transformers generate: exact" in merged.output
    again = _run("parity", "-m", tmp_path / "m")
    assert again.exit_code == 0, "the LoRA that was merged is found again"

    kept = _run(
        *("export", "-m", checkpoints("gpt2"), "-o", tmp_path / "s"),
        *("--lora-slots", "c_attn,c_fc,c_proj", "--lora", lora),
    )
    assert kept.exit_code == 0, kept.output
    assert "8 LoRA slots, LoRAs: own" in kept.output
    assert "own: parity with transformers + peft: exact" in kept.output
    with_lora = _run("parity", "-m", tmp_path / "s", "--lora", "own", "--peft", lora, "--json")
    assert json.loads(with_lora.output)["verdict"] == "exact"
    assert _fails("parity", "-m", tmp_path / "s", "--peft", lora)[0].startswith("--peft was given")


def test_a_lora_whose_folder_is_gone(
    checkpoints: Callable[[str], Path], package: Path, tmp_path: Path
) -> None:
    folder = save_lora(checkpoints("gpt2"), tmp_path / "gone")
    assert _run("lora", "convert", folder, "-m", package, "--no-parity").exit_code == 0
    shutil.rmtree(folder)
    cause, cure = _fails("parity", "-m", package, "--lora", "gone")
    assert cause == f"'gone' was made from {folder}: there is no folder {folder}"
    assert cure == "name its PEFT folder with --peft"
    assert _run("generate", "-m", package, "--ids", "5", "--lora", "gone").exit_code == 0
