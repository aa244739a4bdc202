"""The rules belong to the file: what is written, what keeps them and what refuses to compare."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from support.peft_folders import save_lora

from beamgen import (
    BeamgenError,
    Package,
    check_parity,
    convert_lora,
    export,
    open_checkpoint,
    open_package,
    quantize,
)
from beamgen.cli import main
from beamgen.package import embedded
from beamgen.settings.rules import RULES, UNSAID, installed_rules

#: Of some transformers that is not the one installed.
OTHER = next(release for release in ("4.57", "5.24") if RULES[release] != installed_rules())


def _metadata(package: Package) -> dict[str, Any]:
    model = onnx.load(package.model, load_external_data=False)
    found, _ = embedded.read({entry.key: entry.value for entry in model.metadata_props})
    assert found is not None
    return found


def _functions(package: Package) -> set[str]:
    return {function.name for function in onnx.load(package.model).functions}


LATER = {"one_id_before", "into_constraint", "without_padding", "best_first"}


@pytest.mark.parametrize(
    ("release", "later"),
    [
        ("4.57", set()),
        ("5.18", {"one_id_before", "into_constraint"}),
        ("5.23", {"one_id_before", "into_constraint", "without_padding"}),
        ("5.24", LATER),
    ],
)
def test_a_file_says_its_rules_and_holds_what_they_ask_for(
    release: str, later: set[str], ruled: Callable[[str], Package]
) -> None:
    package = ruled(release)
    written = json.loads((package.folder / "beamgen.json").read_text(encoding="utf-8"))
    assert written["rules"] == _metadata(package)["rules"] == release
    assert package.manifest.rules is RULES[release]
    assert _functions(package) & LATER == later


def test_the_rules_are_the_installed_ones_by_default(packages: Callable[[str], Package]) -> None:
    assert packages("gpt2").manifest.rules is installed_rules()


def _copy(package: Package, to: Path, **changes: Any) -> Path:
    """A package whose manifest was changed; None takes a field away."""
    folder = shutil.copytree(package.folder, to)
    path = folder / "beamgen.json"
    values = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in values.items() if changes.get(name, 0) is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")
    return folder


def test_a_package_of_beamgen_0_1_follows_4_57(
    ruled: Callable[[str], Package], tmp_path: Path
) -> None:
    package = open_package(_copy(ruled("4.57"), tmp_path / "old", rules=None))
    assert package.manifest.rules is UNSAID
    assert package.manifest == ruled("4.57").manifest


def test_rules_of_a_release_to_come_need_a_newer_beamgen(
    ruled: Callable[[str], Package], tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError, match=r"'5\.99'") as error:
        open_package(_copy(ruled("5.24"), tmp_path / "new", rules="5.99"))
    assert error.value.cure == "pip install --upgrade beamgen"
    with pytest.raises(BeamgenError, match="is damaged"):
        open_package(_copy(ruled("5.24"), tmp_path / "odd", rules=["5.24"]))


def test_parity_under_other_rules_is_refused_before_anything_is_loaded(
    ruled: Callable[[str], Package], tmp_path: Path
) -> None:
    package = ruled(OTHER)
    with pytest.raises(BeamgenError, match=f"the rules of transformers {OTHER}, and") as error:
        check_parity(package, open_checkpoint(package.manifest.source["model"]))
    assert f"'transformers=={OTHER}.*'" in error.value.cure
    result = CliRunner().invoke(main, ["parity", "-m", str(package.folder)])
    assert result.exit_code == 1
    assert error.value.cause in result.stderr


def test_an_export_under_other_rules_is_not_compared(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    typed = ["export", "-m", str(checkpoints("gpt2")), "-o", str(tmp_path / "p"), "--rules", OTHER]
    result = CliRunner().invoke(main, typed)
    assert result.exit_code == 1
    assert "pass --no-parity, or leave out --rules" in result.stderr
    assert not any(tmp_path.iterdir())
    result = CliRunner().invoke(main, [*typed, "--no-parity"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert open_package(tmp_path / "p").manifest.rules is RULES[OTHER]


def test_rules_that_there_are_not_are_refused(checkpoints: Callable[[str], Path]) -> None:
    with pytest.raises(BeamgenError, match=r"begin with transformers .5\.25."):
        export(checkpoints("gpt2"), rules="5.25", parity=False)


def test_a_quantized_package_keeps_the_rules(
    ruled: Callable[[str], Package], tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError) as error:
        quantize(ruled(OTHER), tmp_path / "int8")
    assert error.value.cure == "pass --no-parity"
    made = quantize(ruled(OTHER), tmp_path / "int8", parity=False).package
    assert made.manifest.rules is RULES[OTHER]
    assert _functions(made) & LATER == _functions(ruled(OTHER)) & LATER


def test_a_lora_of_a_package_of_other_rules_is_converted_without_parity(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "slots"
    package = export(
        checkpoints("gpt2"), folder, rules=OTHER, parity=False, lora_slots=["c_attn"]
    ).package
    lora = save_lora(checkpoints("gpt2"), tmp_path / "lora", target_modules=["c_attn"])
    with pytest.raises(BeamgenError) as error:
        convert_lora(package, lora)
    assert error.value.cure == "pass --no-parity"
    assert not open_package(folder).loras
    assert convert_lora(package, lora, parity=False).package.manifest.rules is RULES[OTHER]


def test_a_contrib_package_is_compared_whatever_its_rules(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """ONNX Runtime's operators have a rule of their own."""
    settings = {"num_beams": 4, "max_new_tokens": 6, "length_penalty": 0.0}
    options: dict[str, Any] = {"backend": "contrib", "settings": settings, "rules": OTHER}
    report = export(checkpoints("gpt2"), tmp_path / "p", **options).parity
    assert report is not None
    assert report.exit_code == 0
