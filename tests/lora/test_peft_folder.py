"""Reading what peft saved: the arithmetic is peft's, and what is more is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.peft_folders import save_lora

from beamgen import BeamgenError, open_checkpoint
from beamgen.lora.peft_folder import read_peft


@pytest.fixture(scope="module")
def plain(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lora(checkpoints("phi3"), tmp_path_factory.mktemp("peft") / "plain")


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "lora"))


def _edit_config(folder: Path, **changes) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _edit_weights(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("phi3", {}),
        ("phi3", {"r": 9, "lora_alpha": 5}),
        ("phi3", {"use_rslora": True, "r": 3}),
        ("phi3", {"rank_pattern": {"o_proj": 7, r"layers\.0\.mlp\.down_proj": 2}}),
        ("phi3", {"alpha_pattern": {"qkv_proj": 3}, "use_rslora": True}),
        ("phi3", {"layers_to_transform": [1], "target_modules": ["o_proj"]}),
        ("phi3", {"init_lora_weights": "gaussian", "lora_dropout": 0.1}),
        ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
        ("gpt2", {"target_modules": ["lm_head"]}),
        ("biogpt", {}),
    ],
)
def test_a_and_b_give_pefts_own_change_of_the_weights(
    architecture: str, config: dict, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    base = checkpoints(architecture)
    folder = save_lora(base, tmp_path / "lora", **config)
    lora = read_peft(folder)
    model = peft.PeftModel.from_pretrained(open_checkpoint(base).load_model(), str(folder))
    layers = {
        name: module
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert set(lora.weights) == set(layers)
    for name, layer in layers.items():
        a, b = lora.weights[name]
        delta = layer.get_delta_weight("default").detach().numpy()  # as the base weight lies
        expected = delta if getattr(layer, "fan_in_fan_out", False) else delta.T
        np.testing.assert_allclose(a @ b, expected, atol=1e-6)
    assert lora.base == str(base)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_without_torch(dtype: torch.dtype, plain: Path, copy: Path) -> None:
    def halve(tensors: dict) -> None:
        tensors.update({name: tensor.to(dtype) for name, tensor in tensors.items()})

    _edit_weights(copy, halve)
    for module, (a, b) in read_peft(copy).weights.items():
        expected_a, expected_b = read_peft(plain).weights[module]
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, expected_a, rtol=1e-2)
        np.testing.assert_allclose(b, expected_b, rtol=1e-2)


def test_a_pickled_file_is_read(plain: Path, copy: Path) -> None:
    weights = copy / "adapter_model.safetensors"
    torch.save(load_file(weights), copy / "adapter_model.bin")
    weights.unlink()
    for module, pair in read_peft(copy).weights.items():
        for found, expected in zip(pair, read_peft(plain).weights[module], strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"use_dora": True}, "DoRA, use_dora=true"),
        ({"bias": "lora_only"}, 'bias="lora_only"'),
        ({"lora_bias": True}, "lora_bias=true"),
        ({"modules_to_save": ["lm_head"]}, 'modules_to_save=["lm_head"]'),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices=[1, 2]"),
        ({"init_lora_weights": "pissa"}, 'init_lora_weights="pissa" (it changes the base model)'),
        ({"init_lora_weights": "olora"}, 'init_lora_weights="olora"'),
        ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens=[5]"),
        ({"layer_replication": [[0, 2]]}, "layer_replication=[[0, 2]]"),
        ({"something_new_of_peft": 3}, "something_new_of_peft=3"),
    ],
)
def test_what_is_more_than_a_and_b_is_refused_by_name(config: dict, named: str, copy: Path) -> None:
    _edit_config(copy, **config)
    with pytest.raises(BeamgenError) as caught:
        read_peft(copy)
    assert named in caught.value.cause
    assert caught.value.cure == f"merge it instead: beamgen export --lora {copy}"


def test_another_method_is_refused(copy: Path) -> None:
    _edit_config(copy, peft_type="IA3")
    with pytest.raises(BeamgenError, match=r"holds IA3, not LoRA"):
        read_peft(copy)


def test_embeddings_are_refused(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    folder = save_lora(checkpoints("gpt2"), tmp_path / "lora", target_modules=["wte", "c_fc"])
    with pytest.raises(BeamgenError, match=r"wte\.lora_embedding_A is no A or B of a linear layer"):
        read_peft(folder)


def test_a_copy_of_the_base_model_is_refused(copy: Path) -> None:
    _edit_weights(copy, lambda t: t.update({f"{_O_PROJ}.base_layer.weight": torch.ones(64, 64)}))
    with pytest.raises(BeamgenError, match=r"is a weight of the base model"):
        read_peft(copy)


_O_PROJ = "base_model.model.model.layers.0.self_attn.o_proj"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda t: t.pop(f"{_O_PROJ}.lora_B.weight"),
            "model.layers.0.self_attn.o_proj.lora_B.weight is missing, lora_A.weight is there",
        ),
        (
            lambda t: t.update({f"{_O_PROJ}.lora_A.weight": torch.ones(5, 64)}),
            "model.layers.0.self_attn.o_proj.lora_A.weight has rank 5, lora_B.weight has 4",
        ),
        (
            lambda t: t.update({f"{_O_PROJ}.lora_A.weight": torch.full((4, 64), torch.nan)}),
            "model.layers.0.self_attn.o_proj.lora_A.weight holds infinities or not-a-numbers",
        ),
        (
            lambda t: t.update({f"{_O_PROJ}.lora_A.weight": torch.ones(4)}),
            "model.layers.0.self_attn.o_proj.lora_A.weight has shape [4], not two axes",
        ),
        (
            lambda t: t.update(
                {
                    f"{_O_PROJ}.lora_A.weight": torch.ones(5, 64),
                    f"{_O_PROJ}.lora_B.weight": torch.ones(64, 5),
                }
            ),
            "model.layers.0.self_attn.o_proj.lora_A.weight has rank 5, adapter_config.json says 4",
        ),
        (lambda t: t.clear(), "it holds no LoRA weights"),
    ],
)
def test_wrong_tensors_are_named(change: Callable, named: str, copy: Path) -> None:
    _edit_weights(copy, change)
    with pytest.raises(BeamgenError) as caught:
        read_peft(copy)
    assert named in caught.value.cause


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 50, None])
def test_damaged_weights(damage: bytes | None, copy: Path) -> None:
    path = copy / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    with pytest.raises(BeamgenError, match=r"holds damaged weights"):
        read_peft(copy)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "adapter_config.json is damaged"),
        ("[]", "it names no peft_type"),
        ('{"r": 4}', "it names no peft_type"),
    ],
)
def test_damaged_config(text: str, cause: str, copy: Path) -> None:
    (copy / "adapter_config.json").write_text(text)
    with pytest.raises(BeamgenError, match=cause):
        read_peft(copy)


def test_missing_files(copy: Path, tmp_path: Path) -> None:
    (copy / "adapter_model.safetensors").unlink()
    with pytest.raises(BeamgenError, match=r"holds no adapter_model.safetensors"):
        read_peft(copy)
    with pytest.raises(BeamgenError, match=r"holds no adapter_config.json"):
        read_peft(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"r": 0}, "r is 0"),
        ({"lora_alpha": "8"}, "lora_alpha is '8'"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"alpha_pattern": {"o_proj": "x"}}, "lora_alpha is 'x'"),
        ({"rank_pattern": {"(": 3}}, r"rank_pattern has no such pattern as '\('"),
        ({"rank_pattern": [1]}, "rank_pattern is no table"),
        ({"base_model_name_or_path": 3}, "base_model_name_or_path is no text"),
    ],
)
def test_values_that_peft_never_writes(change: dict, named: str, copy: Path) -> None:
    _edit_config(copy, **change)
    with pytest.raises(BeamgenError, match=named):
        read_peft(copy)


def test_what_peft_takes_for_granted(plain: Path, copy: Path) -> None:
    config = json.loads((copy / "adapter_config.json").read_text())
    _edit_config(copy, lora_alpha=8)
    expected = read_peft(copy)
    del config["lora_alpha"]
    (copy / "adapter_config.json").write_text(json.dumps({**config, "init_lora_weights": None}))
    for module, (_, b) in read_peft(copy).weights.items():
        np.testing.assert_array_equal(b, expected.weights[module][1])


def test_scaling_beyond_floats_is_named(copy: Path) -> None:
    _edit_config(copy, lora_alpha=1e300)
    with pytest.raises(BeamgenError, match=r"lora_B.weight is infinite when scaled"):
        read_peft(copy)


def test_loras_of_two_names_in_one_file_are_refused(copy: Path) -> None:
    def double(tensors: dict) -> None:
        for name in list(tensors):
            for called in ("default", "other"):
                tensors[name.replace(".weight", f".{called}.weight")] = tensors[name].clone()
            del tensors[name]

    _edit_weights(copy, double)
    with pytest.raises(BeamgenError, match=r"is there twice, of LoRAs of two names"):
        read_peft(copy)


def test_loras_one_folder_down_are_named(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "all" / "drugs")
    with pytest.raises(BeamgenError, match=r"pass one of the LoRAs in it: drugs"):
        read_peft(tmp_path / "all")
