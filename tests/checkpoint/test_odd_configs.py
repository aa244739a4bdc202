"""Configs as people have them: fields of other programs, nothing said of the architecture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.architectures import ARCHITECTURES
from transformers import AutoModelForCausalLM

from beamgen import BeamgenError, SearchConfig, export, open_checkpoint, open_package
from beamgen.checkpoint.resolve import resolve
from beamgen.package.source import open_source

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def changed(checkpoints: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """``changed("gpt2", torchscript=True)``: a copy with another config; None takes a field out."""

    def make(name: str, called: str = "copy", **changes: Any) -> Path:
        folder = Path(shutil.copytree(checkpoints(name), tmp_path / called))
        path = folder / "config.json"
        config = {**json.loads(path.read_text()), **changes}
        kept = {field: value for field, value in config.items() if value is not None}
        path.write_text(json.dumps(kept))
        return folder

    return make


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS)["logits"]


@pytest.mark.parametrize("field", [{"torchscript": True}, {"return_dict": False}], ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_form_of_the_outputs_changes_no_weight(
    name: str, field: dict, changed: Callable[..., Path], checkpoints: Callable[[str], Path]
) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(checkpoints(name)).eval()
    ours = open_checkpoint(changed(name, **field)).load_model()
    assert torch.equal(_logits(ours), _logits(theirs))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_negative_pad_id_is_none(
    name: str, changed: Callable[..., Path], checkpoints: Callable[[str], Path]
) -> None:
    """In either file; the padding row of an embedding is a row like others where nobody trains."""
    folder = changed(name, pad_token_id=-1)
    theirs = AutoModelForCausalLM.from_pretrained(checkpoints(name)).eval()
    assert torch.equal(_logits(open_checkpoint(folder).load_model()), _logits(theirs))
    stored = {"eos_token_id": 2, "pad_token_id": -1}
    for write in (True, False):
        path = folder / "generation_config.json"
        path.write_text(json.dumps(stored)) if write else path.unlink()
        checkpoint = open_checkpoint(folder)
        found = SearchConfig.from_generation_config(
            checkpoint.generation_config, {}, checkpoint.generation_fields
        )
        assert (found.eos_token_id, found.pad_token_id) == ((2,), 2)


@pytest.mark.parametrize("eos", [-1, [-1]])
def test_a_negative_eos_id_is_none(eos: Any, changed: Callable[..., Path], tmp_path: Path) -> None:
    folder = changed("gpt2", eos_token_id=eos)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))
    with pytest.raises(BeamgenError, match="names no eos_token_id"):
        export(folder, tmp_path / "package", parity=False)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, -1]}))
    checkpoint = open_checkpoint(folder)
    assert SearchConfig.from_generation_config(checkpoint.generation_config).eos_token_id == (2,)


@pytest.mark.parametrize(
    ("called", "architectures", "model_class"),
    [
        ("run", ["GPT2LMHeadModel"], None),
        ("bart-run", ["GPT2LMHeadModel"], None),
        ("my-gpt2-run", None, None),
        ("bart-run", None, "GPT2Model"),
        ("my-phi3-run", ["SomethingElse"], "gpt2"),
    ],
)
def test_an_architecture_is_found_without_a_model_type(
    called: str,
    architectures: list[str] | None,
    model_class: str | None,
    changed: Callable[..., Path],
    tmp_path: Path,
) -> None:
    folder = changed("gpt2", called, model_type=None, architectures=architectures)
    package = export(folder, tmp_path / "package", model_class=model_class, parity=False).package
    assert package.manifest.adapter == "gpt2"
    assert json.loads((package.folder / "config.json").read_text())["model_type"] == "gpt2"
    # the package knows what it was made of
    assert open_source(open_package(package.folder)).config.model_type == "gpt2"


@pytest.mark.parametrize("called", ["run", "vit-run", "adopted"])
def test_a_config_that_says_nothing_is_refused_whatever_its_path(
    called: str, changed: Callable[..., Path]
) -> None:
    """Transformers would take any model type that occurs anywhere in the path."""
    folder = changed("gpt2", called, model_type=None, architectures=None)
    for find in (open_checkpoint, lambda folder: resolve(folder, None)):
        with pytest.raises(BeamgenError, match="has no model_type") as error:
            find(folder)
        assert "--model-class" in error.value.cure


def test_pruned_heads_are_refused_by_name(changed: Callable[..., Path]) -> None:
    with pytest.raises(BeamgenError, match=r"pruned_heads .* layers 0\), so that"):
        open_checkpoint(changed("gpt2", pruned_heads={"0": [1]}))
    open_checkpoint(changed("gpt2", "none", pruned_heads={}))


def test_a_head_without_its_layers_is_named(changed: Callable[..., Path]) -> None:
    path = changed("gpt2") / "model.safetensors"
    head = load_file(path)["transformer.wte.weight"]
    save_file({"lm_head.weight": head}, path, metadata={"format": "pt"})
    with pytest.raises(BeamgenError) as error:
        open_checkpoint(path.parent).load_model()
    assert "no layer of GPT2LMHeadModel, only lm_head.weight (1 in all)" in error.value.cause


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_another_vocabulary_is_told_with_both_sizes(
    name: str, changed: Callable[..., Path]
) -> None:
    folder = changed(name, vocab_size=500)
    with pytest.raises(BeamgenError, match=r"is \[96, 64\] in the file and \[500, 64\]") as error:
        open_checkpoint(folder).load_model()
    assert "vocab_size in config.json to 96" in error.value.cure
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 96}))
    open_checkpoint(folder).load_model()


def test_a_size_in_pickled_weights_is_told_too(changed: Callable[..., Path]) -> None:
    folder = changed("gpt2", vocab_size=500)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BeamgenError, match=r"\[96, 64\] in the file and \[500, 64\]"):
        open_checkpoint(folder).load_model()
