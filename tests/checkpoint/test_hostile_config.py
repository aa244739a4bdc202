"""Values in a config.json that no model can be made of: refused by name, before hours of work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from support.odd_checkpoints import edit_config
from transformers import AutoModelForCausalLM

from beamgen import BeamgenError, PositionLimits, export, find_adapter, open_checkpoint
from beamgen.adapter import AdapterError
from beamgen.testing import tiny_model


@pytest.mark.parametrize(
    ("name", "field", "value", "cause"),
    [
        ("gpt2", "n_layer", 2**31, "n_layer in the config.json"),
        ("phi3", "num_hidden_layers", 2**63, "num_hidden_layers in the config.json"),
        ("gpt2", "num_labels", 10**9, "num_labels in the config.json"),
        ("gpt2", "architectures", 5, "architectures in the config.json"),
        ("gpt2", "pruned_heads", 1, "pruned_heads in the config.json"),
        ("gpt2", "text_config", {}, "cannot read the config"),
        ("gpt2", "vocab_size", {}, "cannot read the config"),
        ("gpt2", "resid_pdrop", [1], "transformers makes no model of the config.json"),
        ("gpt2", "activation_function", 0.5, "transformers makes no model of the config.json"),
        ("gpt2", "n_head", ["a"], "transformers makes no model of the config.json"),
        ("phi3", "hidden_act", {}, "transformers makes no model of the config.json"),
        ("phi3", "max_position_embeddings", {"a": 1}, "max_positions"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_name(
    name: str, field: str, value: Any, cause: str, checkpoints: Callable, tmp_path: Path
) -> None:
    shutil.copytree(checkpoints(name), tmp_path / "ck")
    config = json.loads((tmp_path / "ck" / "config.json").read_text())
    (tmp_path / "ck" / "config.json").write_text(json.dumps({**config, field: value}))
    # the classes of transformers 5 say it themselves
    with pytest.raises(BeamgenError, match=f"{cause}|Validation error for field '{field}'"):
        export(tmp_path / "ck", tmp_path / "out", parity=False)
    assert [path.name for path in tmp_path.iterdir()] == ["ck"]


@pytest.mark.parametrize("link", [False, True])
def test_a_generation_config_that_is_no_file_is_refused(
    link: bool, checkpoints: Callable, tmp_path: Path
) -> None:
    shutil.copytree(checkpoints("gpt2"), tmp_path / "ck")
    file = tmp_path / "ck" / "generation_config.json"
    file.unlink()
    if link:
        file.symlink_to("nothing")
    else:
        file.mkdir()
    with pytest.raises(BeamgenError, match=r"generation_config\.json of .* is no file"):
        export(tmp_path / "ck", tmp_path / "out", parity=False)


@pytest.mark.parametrize("value", [None, "many", [None], {}, 2**63, 1.5])
def test_limits_are_numbers(value: Any) -> None:
    with pytest.raises(AdapterError, match="max_positions"):
        PositionLimits(value)
    PositionLimits(5, None, 3)


@pytest.fixture
def copy(checkpoints: Callable, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(checkpoints(name), tmp_path / "ck"))


def _theirs(folder: Path, ids: list[int]) -> torch.Tensor:
    """HF's own logits, of eager attention."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def test_a_window_of_nothing_is_refused_by_its_name(copy: Callable[[str], Path]) -> None:
    """HF 4.57 computes something of it, in which later tokens change earlier logits; 5 fails."""
    folder = edit_config(copy("phi3"), sliding_window=0)
    if transformers.__version__.startswith("4."):
        assert not torch.allclose(_theirs(folder, [5, 6, 7])[0], _theirs(folder, [5, 8, 9])[0])
    else:
        with pytest.raises(RuntimeError):
            _theirs(folder, [5, 6, 7])
    with pytest.raises(
        BeamgenError, match=r"sliding_window in the config.json of .* is 0"
    ) as error:
        open_checkpoint(folder)
    assert "null" in error.value.cure
    for window in (None, 1, 8):
        edit_config(folder, sliding_window=window)
        assert torch.allclose(_theirs(folder, [5, 6, 7])[0], _theirs(folder, [5, 8, 9])[0])
        open_checkpoint(folder)


@pytest.mark.parametrize("window", [-1, True, 1.5, "8", [8]])
def test_a_window_is_a_number_of_tokens(window: Any, copy: Callable[[str], Path]) -> None:
    with pytest.raises(BeamgenError, match=r"sliding_window in the|for field 'sliding_window'"):
        open_checkpoint(edit_config(copy("phi3"), sliding_window=window))


def test_windows_of_each_layer_are_numbers_of_tokens(checkpoints, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints("led"), tmp_path / "led"))
    for windows in (4, [4, 4]):
        open_checkpoint(edit_config(folder, attention_window=windows))
    for windows in ([4, 0], [4, "4"]):
        with pytest.raises(
            BeamgenError, match=r"attention_window in the|for field 'attention_window'"
        ):
            open_checkpoint(edit_config(folder, attention_window=windows))


def test_a_window_of_a_class_that_has_none_means_nothing(copy: Callable[[str], Path]) -> None:
    checkpoint = open_checkpoint(edit_config(copy("gpt2"), sliding_window=0))
    assert checkpoint.adapter().position_limits(checkpoint.config).attention_window is None


def test_a_model_that_reads_both_ways_is_refused(tmp_path: Path) -> None:
    config = find_adapter("bert_generation").tiny_config()
    tiny_model(config).save_pretrained(tmp_path)
    open_checkpoint(tmp_path).load_model()
    edit_config(tmp_path, is_decoder=False)
    assert not torch.allclose(_theirs(tmp_path, [5, 6, 7])[0], _theirs(tmp_path, [5, 8, 9])[0])
    with pytest.raises(BeamgenError, match="later tokens change the logits of earlier") as error:
        open_checkpoint(tmp_path).load_model()
    assert '"is_decoder": true' in error.value.cure
    open_checkpoint(edit_config(tmp_path, is_decoder=True)).load_model()


def test_finite_weights_of_infinite_logits_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("gpt2")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(1e38)
        model.transformer.wte.weight.mul_(100)
    model.save_pretrained(folder)
    assert not _theirs(folder, [5, 6, 7]).isfinite().all()
    with pytest.raises(BeamgenError, match="logits that are no numbers"):
        open_checkpoint(folder).load_model()


@pytest.mark.parametrize(
    "shard",
    ["../theirs.safetensors", "{outside}", "sub/../../theirs.safetensors", "..\\x", "C:\\x"],
)
def test_an_index_of_shards_that_leads_outside_is_refused(
    shard: str, copy: Callable[[str], Path]
) -> None:
    """transformers follows it: the model is made of a file that nobody gave."""
    folder = copy("gpt2")
    outside = folder.parent / "theirs.safetensors"
    (folder / "model.safetensors").rename(outside)
    name = shard.format(outside=outside)
    config = json.loads((folder / "config.json").read_text())
    _write_index(folder, outside, name)
    if (folder / name).is_file():
        assert _theirs(folder, [5, 6, 7]).isfinite().all()
    with pytest.raises(BeamgenError, match=r"index\.json of .* lies outside of the checkpoint"):
        open_checkpoint(folder)
    (folder / "model.safetensors.index.json").unlink()
    if name == "../theirs.safetensors":
        edit_config(folder, transformers_weights=name)
        with pytest.raises(BeamgenError, match=r"config\.json of .* lies outside"):
            open_checkpoint(folder)
        (folder / "config.json").write_text(json.dumps(config))
    (folder / "part").mkdir()
    (folder / "part" / "one.safetensors").symlink_to(outside)  # as in the hub's cache
    _write_index(folder, outside, "part/one.safetensors")
    open_checkpoint(folder).load_model()


def _write_index(folder: Path, tensors: Path, shard: str) -> None:
    with safe_open(tensors, framework="np") as file:
        names = dict.fromkeys(file.keys(), shard)
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
