"""Which checkpoint is meant, and what its JSON shows before transformers reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from beamgen import BeamgenError
from beamgen.checkpoint.checkpoint import read_checkpoint
from beamgen.checkpoint.files import find_checkpoint
from beamgen.checkpoint.resolve import resolve


@pytest.fixture
def copy(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    """A GPT-2 checkpoint of one's own."""
    return Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "copy"))


def _lora_of(base: object, folder: Path) -> Path:
    folder.mkdir()
    values = {"peft_type": "LORA", "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    return folder


def test_a_folder_a_demo_and_the_base_of_a_lora_are_found(copy: Path, tmp_path: Path) -> None:
    assert resolve(copy, None).folder == copy
    assert resolve(copy, "GPT2LMHeadModel").origin == {"kind": "folder", "model": str(copy)}
    demo = resolve(None, "gpt2")
    assert (demo.source, demo.name, demo.has_tokenizer) == ("demo:gpt2", "gpt2", True)
    assert resolve(None, None, lora=[_lora_of(str(copy), tmp_path / "a")]).folder == copy
    assert resolve(None, None, lora=[_lora_of("demo:gpt2", tmp_path / "b")]) == demo
    assert vars(demo).items() <= vars(read_checkpoint(demo)).items()


def test_its_own_code_is_asked_for_the_architecture(copy: Path) -> None:
    """Of a checkpoint with code of its own the JSON may name a type that is not known here."""
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    (copy / "config.json").write_text(json.dumps(config))
    files = resolve(copy, None)
    with pytest.raises(BeamgenError) as error:
        read_checkpoint(files)
    assert error.value.cure == "read its Python code, then pass --trust-remote-code"


def test_leave_to_run_code_reaches_the_base_of_a_lora(copy: Path, tmp_path: Path) -> None:
    lora = _lora_of(str(copy), tmp_path / "lora")
    assert resolve(None, None, trust_remote_code=True, lora=[lora]).trust_remote_code
    assert not resolve(None, None, lora=[lora]).trust_remote_code


@pytest.mark.parametrize(
    ("base", "cause"),
    [
        (None, "does not say what it was trained on"),
        ("./moved", r"was trained on ./moved: there is no folder"),
    ],
)
def test_a_lora_whose_base_is_not_there(base: object, cause: str, tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match=cause) as error:
        resolve(None, None, lora=[_lora_of(base, tmp_path / "lora")])
    assert error.value.cure == f"name it: --model BASE --lora {tmp_path / 'lora'}"


@pytest.mark.parametrize("damage", ["{", "[1]", '{"model_type": 5}'])
def test_a_config_that_is_no_json_is_left_to_transformers(copy: Path, damage: str) -> None:
    (copy / "config.json").write_text(damage)
    files = resolve(copy, None)
    with pytest.raises(BeamgenError, match="cannot read the config"):
        read_checkpoint(files)


def test_cross_attention_shows(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "add_cross_attention": True}))
    with pytest.raises(BeamgenError, match="has cross-attention"):
        resolve(copy, None)


def test_a_lora_is_no_checkpoint_but_export_takes_it_for_one(copy: Path, tmp_path: Path) -> None:
    """Transformers would load the base that it names, and the LoRA into it."""
    lora = _lora_of(str(copy), tmp_path / "my lora")
    with pytest.raises(BeamgenError, match="holds a LoRA, not a model") as error:
        find_checkpoint(lora)
    assert error.value.cure.endswith(f"beamgen export --lora '{lora}'")
    shutil.copy(copy / "config.json", lora)  # as some programs save it
    with pytest.raises(BeamgenError, match="holds a LoRA, not a model"):
        find_checkpoint(lora)
    shutil.copy(lora / "adapter_config.json", copy)
    with pytest.raises(BeamgenError, match="does not say which of the two counts") as error:
        find_checkpoint(copy)
    (copy / "adapter_config.json").unlink()
    assert "move adapter_config.json out of it" in error.value.cure
    find_checkpoint(copy)
