"""Settings reach peft, and impossible ones are refused."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
from support.trainings import train, two_lines
from transformers import AutoModelForCausalLM

from beamgen import BeamgenError, find_adapter

pytestmark = pytest.mark.usefixtures("no_network")


def test_all_linear_stands_alone(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="all-linear and others"):
        train(tmp_path / "mixed", target_modules=["all-linear", "q_proj"])
    assert not (tmp_path / "mixed").exists()


def test_settings_reach_peft(tmp_path: Path) -> None:
    result = train(
        tmp_path / "small",
        rank=2, lora_alpha=7, target_modules=["q_proj", "v_proj"], use_rslora=True, max_steps=1,
    )  # fmt: skip
    config = peft.PeftConfig.from_pretrained(result.folder)
    assert (config.r, config.lora_alpha, config.lora_dropout) == (2, 7, 0.1)
    assert (set(config.target_modules), config.use_rslora) == ({"q_proj", "v_proj"}, True)
    assert result.trainable_parameters == 4 * 2 * 2 * (96 + 96)  # layers, modules, r (in + out)


def test_one_module_may_be_named_alone(tmp_path: Path) -> None:
    result = train(tmp_path / "one", model_class="gpt2", target_modules="c_attn", max_steps=1)
    config = peft.PeftConfig.from_pretrained(result.folder)
    assert set(config.target_modules) == {"c_attn"}
    base = AutoModelForCausalLM.from_pretrained(find_adapter("gpt2").demo)
    peft.PeftModel.from_pretrained(base, result.folder)


def test_impossible_settings_are_named_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        train(
            tmp_path / "out",
            rank=0, lora_alpha=0, lora_dropout=1.0, learning_rate=0, batch_size=0, max_steps=0,
            num_train_epochs=2, max_length=1, seed=-1, save_steps=0, target_modules=[],
        )  # fmt: skip
    cause = two_lines(caught)
    for name in (
        "rank 0", "lora_alpha 0", "lora_dropout 1.0", "learning_rate 0", "batch_size 0",
        "max_steps 0", "max_length 1", "seed -1", "save_steps 0", "target_modules",
        "num_train_epochs and max_steps",
    ):  # fmt: skip
        assert name in cause
    with pytest.raises(BeamgenError, match="no method called 'qlor'\ndid you mean qlora"):
        train(tmp_path / "out", method="qlor")


def test_layers_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "out", target_modules=["c_attn"])
    assert "c_attn" in two_lines(caught)
    assert "q_proj" in caught.value.cure
    assert "embed" not in caught.value.cure
    assert list(tmp_path.iterdir()) == []
