"""Files of ``olive convert-adapters``, made by Olive itself, see data/olive/README.md."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from beamgen import BeamgenError, Generator, Package, convert_lora, export, lora_fit, read_lora

DATA = Path(__file__).parent / "olive"
LAYERS = {"phi3": "qkv_proj", "gpt2": "c_attn"}


@pytest.fixture(params=sorted(LAYERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def package(name: str, checkpoints: Callable[[str], Path], tmp_path: Path) -> Package:
    return export(
        checkpoints(name), tmp_path / name, parity=False, lora_slots=[LAYERS[name]]
    ).package


def test_it_holds_what_peft_saved(name: str) -> None:
    olive, peft = read_lora(DATA / f"{name}.onnx_adapter"), read_lora(DATA / name)
    assert set(olive.weights) == set(peft.weights)
    for module, pair in peft.weights.items():
        for found, expected in zip(olive.weights[module], pair, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_it_generates_what_the_peft_folder_does(name: str, package: Package) -> None:
    package = convert_lora(package, DATA / name, name="peft", parity=False).package
    done = convert_lora(package, DATA / f"{name}.onnx_adapter", name="olive")
    assert done.parity is None, "there is nothing to compare it with"
    shutil.copyfile(DATA / f"{name}.onnx_adapter", package.folder / "adapters/copied.onnx_adapter")
    generator = Generator(done.package)
    base, peft, olive, copied = (
        generator.generate([[5, 6, 7]], lora=lora) for lora in (None, "peft", "olive", "copied")
    )
    assert peft[0][0].token_ids == olive[0][0].token_ids == copied[0][0].token_ids
    assert peft[0][0].token_ids != base[0][0].token_ids


def test_quantized_files_are_refused_by_name() -> None:
    with pytest.raises(BeamgenError, match=r"lora_A.quant.scale is quantized \(olive"):
        read_lora(DATA / "phi3-int4.onnx_adapter")


def test_a_mismatch_is_explained(package: Package, name: str) -> None:
    (other,) = set(LAYERS) - {name}
    fit = lora_fit(read_lora(DATA / f"{other}.onnx_adapter"), package)
    assert fit.exit_code == 3
    assert all(f"{LAYERS[other]}.lora_A.weight has no slot" in line for line in fit.problems)
    assert fit.cure == "take a LoRA that was trained on the package's base model"
