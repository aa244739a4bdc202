"""Experts that files keep apart, and transformers 5 in one tensor: held against the raw values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.odd_checkpoints import edit_config, edit_tensors

from beamgen import BeamgenError, find_adapter, open_checkpoint
from beamgen.checkpoint.same_tensors import check_tensors
from beamgen.testing import tiny_model

#: What each kind of file calls a tensor of the experts.
NAMES = {
    "mixtral": "model.layers.1.block_sparse_moe.experts.2.w3.weight",
    "olmoe": "model.layers.1.mlp.experts.2.up_proj.weight",
    "granitemoe": "model.layers.1.block_sparse_moe.output_linear.weight",
}


@pytest.fixture(params=NAMES)
def saved(request: pytest.FixtureRequest, once: Callable[..., Path]) -> tuple[Path, str]:
    """A checkpoint as both versions write it, and one name in it."""

    def make(folder: Path) -> None:
        model = tiny_model(find_adapter(request.param).tiny_config())
        for position, parameter in enumerate(model.parameters()):
            parameter.data.add_(1e-3 * position)  # no two experts alike, nor two matrices
        model.save_pretrained(folder)

    return once(f"experts/{request.param}", make), NAMES[request.param]


def _stored(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_changed_expert_is_found_by_its_name(saved: tuple[Path, str]) -> None:
    folder, name = saved
    model, stored = open_checkpoint(folder).load_model(), _stored(folder)
    check_tensors(model, stored.items(), "it")
    changed = stored[name].clone()
    changed.view(-1)[-1] += 1.0
    with pytest.raises(BeamgenError, match="other values than it stores") as error:
        check_tensors(model, {**stored, name: changed}.items(), "it")
    assert error.value.cause.endswith(f": {name}")


def test_two_experts_in_each_others_places_are_found(saved: tuple[Path, str]) -> None:
    folder, name = saved
    model, stored = open_checkpoint(folder).load_model(), _stored(folder)
    if ".2." in name:
        other = name.replace(".2.", ".1.")
        swapped = {name: stored[other], other: stored[name]}
    else:
        swapped = {name: stored[name].flip(0)}
    with pytest.raises(BeamgenError, match="other values than it stores") as error:
        check_tensors(model, {**stored, **swapped}.items(), "it")
    assert all(each in error.value.cause for each in swapped)


def test_an_expert_that_is_not_stored_is_told(saved: tuple[Path, str]) -> None:
    folder, name = saved
    model, stored = open_checkpoint(folder).load_model(), _stored(folder)
    del stored[name]
    with pytest.raises(BeamgenError, match="lacks weights of"):
        check_tensors(model, stored.items(), "it")


def test_an_expert_too_many_is_unread(once: Callable[..., Path], tmp_path: Path) -> None:
    model = tiny_model(find_adapter("mixtral").tiny_config())
    model.save_pretrained(tmp_path)
    more = NAMES["mixtral"].replace(".2.", ".9.")
    stored = _stored(tmp_path)
    with pytest.raises(BeamgenError, match=f"stores {more}, which"):
        check_tensors(model, {**stored, more: stored[NAMES["mixtral"]]}.items(), "it")


@pytest.mark.transformers_5
def test_an_expert_missing_from_the_file_is_told(tmp_path: Path) -> None:
    tiny_model(find_adapter("mixtral").tiny_config()).save_pretrained(tmp_path)
    edit_tensors(tmp_path, {}, drop=[NAMES["mixtral"]])
    part = "holds a part only of model.layers.1.mlp.experts.gate_up_proj"
    with pytest.raises(BeamgenError, match=part):
        open_checkpoint(tmp_path).load_model()


@pytest.mark.transformers_5
def test_a_file_that_has_them_in_one_tensor_is_read_too(tmp_path: Path) -> None:
    model = tiny_model(find_adapter("mixtral").tiny_config())
    model.save_pretrained(tmp_path, save_original_format=False)
    name = "model.layers.1.mlp.experts.gate_up_proj"
    stored = _stored(tmp_path)[name]
    loaded = open_checkpoint(tmp_path).load_model()
    assert torch.equal(loaded.get_parameter(name), stored)


@pytest.mark.transformers_4
def test_what_4_57_cannot_read_of_5_says_where_it_can_be(tmp_path: Path) -> None:
    tiny_model(find_adapter("mixtral").tiny_config()).save_pretrained(tmp_path)
    names = [name for name in _stored(tmp_path) if ".experts." in name]
    fused = {"model.layers.0.mlp.experts.gate_up_proj": torch.ones(4, 256, 64)}
    edit_tensors(edit_config(tmp_path, transformers_version="5.24.0"), fused, drop=names)
    with pytest.raises(BeamgenError, match="lacks weights of") as error:
        open_checkpoint(tmp_path).load_model()
    assert error.value.cure.startswith("transformers 5.24.0 saved it")
