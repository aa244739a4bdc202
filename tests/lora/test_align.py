"""LoRAs under other names than the model's layers have are taken, and change the same outputs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from support.peft_folders import save_lora

from beamgen import BeamgenError, convert_lora, export, lora_fit, open_checkpoint, read_lora

PREFIX = "base_model.model."
_BACKBONE = re.compile(r"base_model\.model\.(transformer|model|biogpt)\.")


def _renamed(folder: Path, to: Path, rename: Callable[[str], str]) -> Path:
    shutil.copytree(folder, to)
    path = to / "adapter_model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path)
    return to


#: What other programs call the tensors that peft calls base_model.model.MODULE.lora_A.weight.
NAMES: dict[str, Callable[[str], str]] = {
    "a model's own state_dict": lambda n: n.replace(".weight", ".default.weight"),
    "another LoRA's name": lambda n: n.replace(".weight", ".drugs.weight"),
    "no prefix": lambda n: n.removeprefix(PREFIX),
    "a model without its head": lambda n: _BACKBONE.sub(PREFIX, n),
    "neither": lambda n: _BACKBONE.sub("", n),
}


@pytest.fixture(scope="module")
def folders(once: Callable[..., Path], checkpoints: Callable[[str], Path]) -> Callable[..., Path]:
    """``folders("gpt2", "no prefix")``; as peft writes it without a second name."""

    def make(name: str, called: str | None = None) -> Path:
        plain = once(f"aligned/{name}", lambda to: save_lora(checkpoints(name), to, r=3))
        if called is None:
            return plain
        slug = called.replace(" ", "-").replace("'", "")
        return once(f"aligned/{name}-{slug}", lambda to: _renamed(plain, to, NAMES[called]))

    return make


@pytest.mark.parametrize("called", NAMES)
@pytest.mark.parametrize("name", ["gpt2", "phi3", "biogpt"])
def test_other_names_merge_as_pefts_own(
    name: str, called: str, folders: Callable[..., Path], checkpoints: Callable[[str], Path]
) -> None:
    base = open_checkpoint(checkpoints(name))
    expected = base.with_lora(folders(name)).load_merged().state_dict()
    found = base.with_lora(folders(name, called)).load_merged().state_dict()
    plain = base.load_model().state_dict()
    assert found.keys() == expected.keys()
    changed = [key for key in found if not torch.equal(found[key], plain[key])]
    assert len(changed) >= 8
    for key in found:  # peft scales A B, a written folder has the scaling in B
        assert torch.allclose(found[key], expected[key], rtol=1e-5, atol=1e-6), key


@pytest.mark.parametrize("called", NAMES)
def test_other_names_find_their_slots(
    called: str, folders: Callable[..., Path], slotted: Callable
) -> None:
    package = slotted("gpt2")
    expected = lora_fit(read_lora(folders("gpt2")), package)
    found = lora_fit(read_lora(folders("gpt2", called)), package)
    assert not found.problems
    assert found.lora.tensors().keys() == expected.lora.tensors().keys()
    for name, tensor in expected.lora.tensors().items():
        np.testing.assert_array_equal(found.lora.tensors()[name], tensor)


# ---------------------------------------------------------------- several layers that are one

#: Of tiny Phi-3: outputs of each part, which the fused layer gives one after the other.
ROWS = {
    "qkv_proj": {"q_proj": (0, 64), "k_proj": (64, 96), "v_proj": (96, 128)},
    "gate_up_proj": {"gate_proj": (0, 128), "up_proj": (128, 256)},
}
PARENTS = {"qkv_proj": "self_attn", "gate_up_proj": "mlp"}
RANKS = {"q_proj": 3, "k_proj": 2, "v_proj": 5, "gate_proj": 4, "up_proj": 3}
ALPHA = 6


def _split_lora(folder: Path, parts: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A PEFT folder of a LoRA on these layers; its A and B by module."""
    rng = np.random.default_rng(5)
    weights = {}
    for layer in range(2):
        for whole, rows in ROWS.items():
            for part in [part for part in rows if part in parts]:
                rank, (start, stop) = RANKS[part], rows[part]
                module = f"model.layers.{layer}.{PARENTS[whole]}.{part}"
                a = rng.normal(0, 0.2, (rank, 64)).astype(np.float32)
                b = rng.normal(0, 0.2, (stop - start, rank)).astype(np.float32)
                weights[module] = (a, b)
    folder.mkdir()
    save_file(
        {
            f"{PREFIX}{module}.lora_{kind}.weight": tensor
            for module, pair in weights.items()
            for kind, tensor in zip("AB", pair, strict=True)
        },
        folder / "adapter_model.safetensors",
    )
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": ALPHA, "target_modules": parts}
    config["rank_pattern"] = {part: RANKS[part] for part in parts}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return weights


@pytest.mark.parametrize(
    "parts",
    [["q_proj", "v_proj"], ["q_proj"], ["k_proj"], ["v_proj", "gate_proj"], ["up_proj"], [*RANKS]],
    ids=",".join,
)
def test_parts_of_a_layer_change_its_own_outputs(
    parts: list[str], checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """By NumPy: rows of the layer's weight, each with its own A and B."""
    base = open_checkpoint(checkpoints("phi3"))
    before = {key: value.numpy() for key, value in base.load_model().state_dict().items()}
    weights = _split_lora(tmp_path / "split", parts)
    after = base.with_lora(tmp_path / "split").load_merged().state_dict()
    expected = {key: value.astype(np.float64) for key, value in before.items()}
    for module, (a, b) in weights.items():
        parent, _, part = module.rpartition(".")
        whole = next(whole for whole, rows in ROWS.items() if part in rows)
        start, stop = ROWS[whole][part]
        scale = ALPHA / RANKS[part]
        expected[f"{parent}.{whole}.weight"][start:stop] += scale * (b.astype(np.float64) @ a)
    assert after.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(after[key].numpy(), value, rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.mark.slow
def test_parts_of_a_layer_are_merged_and_switched(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """The same tokens as transformers + peft, which gets what was made of the LoRA."""
    _split_lora(tmp_path / "split", ["q_proj", "v_proj", "gate_proj"])
    base = checkpoints("phi3")
    merged = export(base, tmp_path / "merged", lora=[tmp_path / "split"])
    slots = export(base, tmp_path / "slots", lora=[tmp_path / "split"], lora_slots=[])
    assert merged.exit_code == slots.exit_code == 0
    assert slots.lora_parity.keys() == {"split"}
    kinds = {slot.module.rpartition(".")[2] for slot in slots.package.manifest.lora_slots}
    assert kinds == {"qkv_proj", "gate_up_proj"}
    again = convert_lora(slots.package, tmp_path / "split", name="again", parity=False)
    assert not lora_fit(again.lora, again.package).problems


def test_a_part_of_another_size_is_named(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    _split_lora(tmp_path / "split", ["q_proj", "v_proj"])
    path = tmp_path / "split" / "adapter_model.safetensors"
    tensors = load_file(path)
    name = f"{PREFIX}model.layers.0.self_attn.q_proj.lora_B.weight"
    tensors[name] = np.zeros((70, 3), np.float32)
    save_file(tensors, path)
    with pytest.raises(BeamgenError, match=r"layers\.0\.self_attn\.q_proj\.lora_A\.weight has no"):
        export(checkpoints("phi3"), tmp_path / "package", lora=[tmp_path / "split"])


def test_more_than_a_lora_under_other_names_says_how_to_save_it(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    plain = save_lora(checkpoints("gpt2"), tmp_path / "dora", use_dora=True)
    folder = _renamed(plain, tmp_path / "bare", NAMES["neither"])
    with pytest.raises(BeamgenError, match="have other names than the layers of GPT2") as error:
        export(checkpoints("gpt2"), tmp_path / "package", lora=[folder], parity=False)
    assert error.value.cure == "save it from the model that AutoModelForCausalLM loads"
