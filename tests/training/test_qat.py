"""Training through the rounding of a file: its loss, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from support.trainings import (
    EXAMPLES,
    Logits,
    hf_logits,
    mean_loss,
    train,
    two_lines,
    weights,
)
from transformers import AutoModelForCausalLM

from beamgen import BeamgenError, FinetuneResult, find_adapter
from beamgen.checkpoint.checkpoint import Checkpoint, demo_checkpoint, open_checkpoint
from beamgen.cli import main
from beamgen.decoder.export import export_decoder
from beamgen.decoder.passes.quantize import quantize
from beamgen.export.roundable import precision_of
from beamgen.export.teacher_forcing import TeacherForcing
from beamgen.quantization.emulate import emulate

pytestmark = pytest.mark.usefixtures("no_network")


def _train(output: Path, **options: Any) -> FinetuneResult:
    given = {"method": "qat", "precision": "int4", "lora_dropout": 0.0, "max_steps": 12}
    return train(output, **{**given, **options})


def _of_file(checkpoint: Checkpoint, precision: str, folder: Path) -> Logits:
    """The quantized decoder in ONNX Runtime."""
    folder.mkdir()
    decoder = export_decoder(checkpoint.adapter(), checkpoint.load_merged(), folder)
    quantize(decoder.model, precision)
    runner = TeacherForcing(decoder, folder)
    return lambda ids: torch.from_numpy(runner.logits(np.array([ids]))[0])


def _written(result: FinetuneResult, name: str) -> Checkpoint:
    if result.all_weights:
        return open_checkpoint(result.folder)
    return demo_checkpoint(find_adapter(name)).with_lora(result.folder)


@pytest.mark.parametrize(
    ("name", "precision", "all_weights"),
    [("gpt2", "int4", False), ("biogpt", "int8", True), ("biogpt", "int4", True)],
)
def test_the_loss_is_that_of_the_exported_file(
    name: str, precision: str, all_weights: bool, tmp_path: Path
) -> None:
    result = _train(
        tmp_path / "out", model_class=name, precision=precision, all_weights=all_weights
    )
    assert result.eval_loss < result.eval_loss_before - 0.5
    written = _written(result, name)
    record = precision_of(written, written.adapter(), precision, "a test")
    emulated = mean_loss(hf_logits(emulate(written.load_merged(), record)), name)
    assert result.eval_loss == pytest.approx(emulated, abs=1e-5)
    unrounded = mean_loss(hf_logits(written.load_merged()), name)
    assert abs(result.eval_loss - unrounded) > 1e-4
    exported = mean_loss(_of_file(written, precision, tmp_path / "decoder"), name)
    assert result.eval_loss == pytest.approx(exported, abs=2e-3), "but for ties of activations"


def test_all_weights_become_a_checkpoint(tmp_path: Path) -> None:
    result = _train(tmp_path / "out", all_weights=True, max_steps=2)
    assert result.trainable_parameters == 570_528
    assert result.base == "demo:biogpt"
    demo = find_adapter("biogpt").demo
    AutoModelForCausalLM.from_pretrained(result.folder)
    before, after = (load_file(each / "model.safetensors") for each in (demo, result.folder))
    assert before.keys() == after.keys()
    assert all(tensor.dtype == torch.float32 for tensor in after.values())
    moved = [name for name in before if not torch.equal(before[name].float(), after[name])]
    assert len(moved) > 0.9 * len(before)
    weight = after["biogpt.layers.0.fc1.weight"]
    assert len(weight[0, :32].unique()) > 16, "what is written is not rounded"
    config = json.loads((result.folder / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert (result.folder / "generation_config.json").is_file()
    record = json.loads((result.folder / "finetune.json").read_text())
    assert (record["precision"], record["all_weights"]) == ("int4", True)
    with pytest.raises(BeamgenError, match="exists"):
        _train(tmp_path / "out", all_weights=True, max_steps=2)
    _train(tmp_path / "out", all_weights=True, max_steps=1, force=True)


@pytest.mark.parametrize("all_weights", [False, True])
def test_resumed_equals_uninterrupted_and_the_same_seed_gives_the_same_bytes(
    all_weights: bool, tmp_path: Path
) -> None:
    def run(name: str, **options: Any) -> Path:
        return _train(tmp_path / name, all_weights=all_weights, save_steps=4, **options).folder

    def of(folder: Path) -> bytes | str:
        return (folder / "model.safetensors").read_bytes() if all_weights else weights(folder)

    def interrupt(line: str) -> None:
        if line.startswith("training: step 10 "):
            raise KeyboardInterrupt

    whole = run("whole", eval_data=None)
    with pytest.raises(KeyboardInterrupt):
        run("resumed", eval_data=None, progress=interrupt)
    resumed = run("resumed", eval_data=None, resume=True)
    assert of(resumed) == of(whole)
    assert of(run("measured")) == of(whole), "measuring changes nothing"


def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    for options, cause in (
        ({"precision": None}, "no precision was named"),
        ({"precision": "fp16"}, "method qat has no precision called 'fp16'"),
        ({"method": "lora"}, "precision int4 was asked for with method lora"),
        ({"method": "loftq", "all_weights": True}, "all_weights is of method qat, not of loftq"),
        ({"lora_dropout": 0.1}, "lora_dropout has no input to act on"),
        ({"all_weights": True, "rank": 4}, "rank is of a LoRA, and all_weights trains none"),
    ):
        with pytest.raises(BeamgenError) as caught:
            _train(tmp_path / "out", **options)
        assert cause in two_lines(caught)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (
            ("--method", "qat", "--precision", "int4"),
            (
                "biogpt-lora/  qat on demo:biogpt, 55,296 parameters",
                "merge it:  beamgen export --lora biogpt-lora --precision int4",
            ),
        ),
        (
            ("--method", "qat", "--precision", "int8", "--all-weights"),
            (
                "biogpt-qat/  qat on demo:biogpt, 570,528 parameters",
                "export it: beamgen export -m biogpt-qat --precision int8",
            ),
        ),
    ],
)
def test_the_command_says_how_to_export_it(
    options: tuple[str, ...],
    lines: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ("--data", str(EXAMPLES / "drugs.jsonl"), "--max-steps", "1")
    result = CliRunner().invoke(main, ["finetune", "--model-class", "biogpt", *data, *options])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "", "libraries keep quiet"
    printed = result.stdout.splitlines()
    assert (printed[1], printed[-1]) == lines
