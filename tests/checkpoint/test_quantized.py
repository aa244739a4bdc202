"""Weights that were stored in fewer bits are read as they are worth, or refused by their field."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from bitsandbytes.functional import (
    dequantize_4bit,
    int8_vectorwise_dequant,
    quantize_4bit,
)
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from support.architectures import ARCHITECTURES
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from beamgen import BeamgenError, find_adapter, open_checkpoint
from beamgen.checkpoint.dequantize import dequantized
from beamgen.checkpoint.resolve import resolve
from beamgen.cli import main

KINDS = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "nf4 twice": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    },
    "int8": {"load_in_8bit": True},
}


@pytest.fixture(scope="module")
def quantized(once: Callable[..., Path], checkpoints: Callable[[str], Path]) -> Callable[..., Path]:
    """``quantized("gpt2", "nf4")``: as transformers and bitsandbytes save it."""

    def make(name: str, kind: str) -> Path:
        def write(folder: Path) -> None:
            config = BitsAndBytesConfig(**KINDS[kind])
            AutoModelForCausalLM.from_pretrained(
                checkpoints(name), quantization_config=config
            ).save_pretrained(folder)

        return once(f"bitsandbytes/{name}-{kind.replace(' ', '-')}", write)

    return make


def _as_bitsandbytes_reads(layer: torch.nn.Module) -> torch.Tensor:
    weight = layer.weight.data.as_subclass(torch.Tensor)
    if isinstance(layer, Linear4bit):
        return dequantize_4bit(weight, layer.weight.quant_state).float()
    assert isinstance(layer, Linear8bitLt)
    return int8_vectorwise_dequant(weight, layer.weight.SCB)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bitsandbytes_weights_are_what_bitsandbytes_reads(
    name: str, kind: str, quantized: Callable[..., Path]
) -> None:
    """To the bit, without the library; other layers are those of the file."""
    folder = quantized(name, kind)
    checkpoint = open_checkpoint(folder)
    ours = checkpoint.load_model()
    assert checkpoint.dtype == f"bitsandbytes {kind.split()[0]}"
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    layers = [
        (path, module)
        for path, module in theirs.named_modules()
        if isinstance(module, Linear4bit | Linear8bitLt)
    ]
    assert len(layers) >= 8
    for path, layer in layers:
        own = ours.get_submodule(path)
        weight = own.weight.T if isinstance(own, Conv1D) else own.weight
        assert weight.dtype == torch.float32
        assert torch.equal(weight, _as_bitsandbytes_reads(layer)), path
    assert torch.equal(
        ours.get_input_embeddings().weight, theirs.get_input_embeddings().weight.float()
    )


@pytest.mark.parametrize("storage", [torch.uint8, torch.bfloat16, torch.float32])
def test_blocks_may_end_in_the_middle_of_a_row(storage: torch.dtype) -> None:
    """And the bytes may lie in any dtype, as FSDP wants them."""
    torch.manual_seed(0)
    weight = torch.randn(32, 50)
    packed, state = quantize_4bit(weight, blocksize=64, quant_type="nf4")
    stored = {"x.weight": packed.flatten().view(storage)}
    stored |= {f"x.weight.{name}": part for name, part in state.as_dict(packed=True).items()}
    found = dict(dequantized(stored.items(), "bitsandbytes nf4", torch.nn.Linear(1, 1)))
    state.shape = torch.Size((25, 64))  # rows of one block, which every kernel reads correctly
    assert torch.equal(found["x.weight"], dequantize_4bit(packed, state).reshape(32, 50))
    assert found.keys() == {"x.weight"}


def _in_blocks(folder: Path) -> dict[str, np.ndarray]:
    """Round each layer to fp8 by blocks of 48 x 40, and give what they are worth, by NumPy."""
    path, rng, worth = folder / "model.safetensors", np.random.default_rng(0), {}
    tensors = load_file(path)
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        rows, columns = tensors[name].shape
        scale = rng.uniform(0.5, 2, (-(-rows // 48), -(-columns // 40))).astype(np.float32)
        rounded = (tensors[name].numpy() * 8).astype(ml_dtypes.float8_e4m3fn)
        tensors[name] = torch.from_numpy(rounded.view(np.uint8)).view(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = torch.from_numpy(scale)
        worth[name] = np.array(
            [
                [np.float32(rounded[i, j]) * scale[i // 48, j // 40] for j in range(columns)]
                for i in range(rows)
            ]
        )
    save_file(tensors, path, metadata={"format": "pt"})
    return worth


def _with_field(folder: Path, field: dict[str, Any], name: str = "quantization_config") -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: field}))
    return folder


@pytest.fixture
def copy(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints("phi3"), tmp_path / "copy"))


FP8 = {"quant_method": "fp8", "weight_block_size": [48, 40], "activation_scheme": "dynamic"}


def test_fp8_in_blocks_is_what_the_scales_make_of_it(copy: Path) -> None:
    worth = _in_blocks(_with_field(copy, FP8))
    model = open_checkpoint(copy).load_model()
    assert len(worth) == 8
    for name, values in worth.items():
        np.testing.assert_array_equal(model.get_parameter(name).detach().numpy(), values)

    tensors = load_file(copy / "model.safetensors")
    del tensors[f"{next(iter(worth))}_scale_inv"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BeamgenError, match="without the scales of its blocks"):
        open_checkpoint(copy).load_model()


@pytest.mark.parametrize(
    ("field", "method"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8 in another form than blocks"),
        ({"quant_method": "bitsandbytes"}, "bitsandbytes in an unknown form"),
        ({"quant_method": "something new"}, "something new"),
        ({"bits": 4}, "an unnamed method"),
    ],
)
def test_other_methods_are_refused_by_their_field(field: dict, method: str, copy: Path) -> None:
    """Before transformers would ask for a library, whatever the file holds."""
    (_with_field(copy, field) / "model.safetensors").unlink()
    named = rf"quantized by {method} \(quantization_config"
    with pytest.raises(BeamgenError, match=named) as error:
        resolve(copy, None)
    assert "the checkpoint that it was made from" in error.value.cure


def test_methods_that_stand_elsewhere_are_refused_too(copy: Path) -> None:
    (copy / "quantize_config.json").write_text('{"bits": 4}')
    with pytest.raises(BeamgenError, match=r"quantized by gptq \(quantize_config\.json\)"):
        open_checkpoint(copy)
    with pytest.raises(BeamgenError, match="quantized by sparse"):
        open_checkpoint(_with_field(copy, {"quant_method": "sparse"}, "compression_config"))


@pytest.mark.parametrize("field", [FP8, {"load_in_4bit": True}, {"load_in_8bit": True}], ids=str)
def test_a_field_over_plain_tensors_is_refused_and_can_be_taken_out(
    field: dict, copy: Path, checkpoints: Callable[[str], Path]
) -> None:
    with pytest.raises(BeamgenError, match="and none is") as error:
        open_checkpoint(_with_field(copy, field)).load_model()
    assert "take quantization_config out of config.json" in error.value.cure
    path = copy / "config.json"
    config = json.loads(path.read_text())
    del config["quantization_config"]
    path.write_text(json.dumps(config))
    open_checkpoint(copy).load_model()


def test_a_package_is_proved_on_what_the_weights_are_worth(
    quantized: Callable[..., Path], tmp_path: Path
) -> None:
    line = ["export", "-m", str(quantized("gpt2", "nf4")), "-o", str(tmp_path / "package")]
    made = CliRunner().invoke(main, [*line, "--json"])
    assert made.exit_code == 0, made.output
    manifest = json.loads(made.stdout)
    assert manifest["source"]["dtype"] == "bitsandbytes nf4"
    assert manifest["parity"]["verdict"] == "exact"
    assert "quantization_config" not in json.loads((tmp_path / "package/config.json").read_text())


def test_qlora_is_refused_on_a_quantized_base(tmp_path: Path) -> None:
    demo = find_adapter("gpt2").demo
    assert demo is not None
    folder = _with_field(Path(shutil.copytree(demo, tmp_path / "base")), {"load_in_4bit": True})
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a bird", "completion": " is"}\n')
    line = ["finetune", "-m", str(folder), "--data", str(rows), "-o", str(tmp_path / "lora")]
    refused = CliRunner().invoke(main, [*line, "--method", "qlora"])
    assert "quantized already (bitsandbytes fp4)" in refused.stderr
    assert "--method lora" in refused.stderr
