"""LoftQ: trained with a base and a start of its own, through the rounding of a file."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import peft
import pytest
import torch
from support.trainings import hf_logits, mean_loss, train
from transformers import AutoModelForCausalLM, AutoTokenizer

from beamgen import find_adapter
from beamgen.checkpoint.checkpoint import demo_checkpoint, open_checkpoint
from beamgen.export.roundable import precision_of
from beamgen.parity.rounded import reference_model
from beamgen.quantization.emulate import emulate, rounded
from beamgen.quantization.record import Precision
from beamgen.tokenizer.load import load_tokenizer
from beamgen.training.loftq import alternate

pytestmark = pytest.mark.usefixtures("no_network")
IDS = torch.arange(5, 30)[None]


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS).logits
    return found


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_and_b_make_up_for_part_of_the_rounding(precision: str) -> None:
    weight = torch.randn(96, 128, generator=torch.Generator().manual_seed(0))
    rounding = partial(rounded, precision=precision, by_row=True)
    found, left, right = alternate(weight, 16, rounding)
    lost = (weight - rounding(weight)).norm()
    assert (weight - found - left @ right).norm() < 0.8 * lost
    again = rounding(found)
    assert (again - found).abs().max() < 1e-6, "the file rounds it to itself"


def test_a_rank_above_the_weights_own_is_filled_up_with_zeros() -> None:
    weight = torch.randn(8, 40, generator=torch.Generator().manual_seed(0))
    rounding = partial(rounded, precision="int4", by_row=True)
    found, left, right = alternate(weight, 12, rounding)
    assert (left.shape, right.shape) == ((8, 12), (12, 40))
    assert torch.allclose(found + left @ right, weight, atol=1e-5)
    assert not left[:, 8:].any()


@pytest.mark.parametrize("name", ["biogpt", "gpt2"])
def test_it_writes_the_base_its_lora_belongs_to(name: str, tmp_path: Path) -> None:
    """GPT-2's layers are Conv1D, whose weights lie the other way round."""
    demo = demo_checkpoint(find_adapter(name))
    result = train(
        tmp_path / "l", model_class=name, method="loftq", precision="int4", max_steps=2,
        learning_rate=1e-9, lora_dropout=0.0, rank=16,
    )  # fmt: skip
    config = json.loads((result.folder / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True
    assert config["base_model_name_or_path"] == result.base == str(result.folder / "base")
    base = open_checkpoint(result.base)
    assert load_tokenizer(base.folder).encode("x") == [
        *AutoTokenizer.from_pretrained(demo.folder)("x")["input_ids"]
    ]
    assert (base.folder / "generation_config.json").is_file()

    record: Precision = precision_of(base, base.adapter(), "int4", "a test")
    in_slots = _logits(reference_model(base.with_lora(result.folder), record, in_slots=True))
    plain = _logits(demo.load_model())
    rounded_only = _logits(emulate(demo.load_model(), record))
    assert (in_slots - plain).norm() < 0.9 * (rounded_only - plain).norm()
    fp32 = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(result.base), result.folder
    )
    assert (_logits(fp32) - plain).norm() < (rounded_only - plain).norm(), "it is Q + B A"


def test_it_learns(tmp_path: Path) -> None:
    result = train(tmp_path / "l", method="loftq", precision="int8", lora_dropout=0.0)
    assert result.eval_loss_before > 2.5
    assert result.eval_loss < 1.0
    base = open_checkpoint(result.base)
    record = precision_of(base, base.adapter(), "int8", "a test")
    in_slots = reference_model(base.with_lora(result.folder), record, in_slots=True)
    assert result.eval_loss == pytest.approx(mean_loss(hf_logits(in_slots), "biogpt"), abs=1e-5)
