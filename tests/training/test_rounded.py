"""The forward pass through a file's rounding, and gradients that pass it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from support.peft_folders import save_lora

from beamgen import BeamgenError
from beamgen.checkpoint.checkpoint import Checkpoint, open_checkpoint
from beamgen.checkpoint.example_inputs import example_inputs
from beamgen.export.roundable import precision_of
from beamgen.quantization.emulate import emulate, readers
from beamgen.quantization.record import Precision
from beamgen.quantization.straight_through import straight_through
from beamgen.training.rounded import RoundedForward, check_trains

IDS = torch.arange(5, 25).reshape(2, 10)


def _precision(checkpoint: Checkpoint, name: str) -> Precision:
    return precision_of(checkpoint, checkpoint.adapter(), name, "a test")


def _logits(model: Any, checkpoint: Checkpoint) -> torch.Tensor:
    found: torch.Tensor = model(**example_inputs(checkpoint.config, IDS)).logits.detach()
    return found


def test_the_value_is_the_rounded_one_and_the_gradient_that_of_what_was_rounded() -> None:
    x = torch.tensor([0.4, 1.6, -2.5], requires_grad=True)
    (straight_through(x, torch.round) * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert straight_through(x, torch.round).tolist() == [0.0, 2.0, -2.0]
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 10.0, 100.0]


MIXTRAL = pytest.param("mixtral", marks=pytest.mark.transformers_4)


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("name", ["gpt2", "phi3", MIXTRAL, "t5"])
def test_it_gives_what_the_emulated_file_gives(
    name: str, precision: str, checkpoints: Callable[[str], Path]
) -> None:
    checkpoint = open_checkpoint(checkpoints(name))
    record = _precision(checkpoint, precision)
    model = checkpoint.load_model()
    plain = _logits(model, checkpoint)
    forward = RoundedForward(model, readers(model, record), merged=False)
    found = _logits(forward, checkpoint)
    assert torch.equal(found, _logits(emulate(checkpoint.load_model(), record), checkpoint))
    assert not torch.equal(found, plain)


@pytest.mark.parametrize("name", ["gpt2", MIXTRAL])
def test_a_lora_is_rounded_as_a_merging_export_does(
    name: str, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """Mixtral's routers have a LoRA, too, and are not rounded."""
    checkpoint = open_checkpoint(checkpoints(name))
    folder = save_lora(checkpoints(name), tmp_path / "lora", std=0.1)
    merged = checkpoint.with_lora(folder)
    record = _precision(merged, "int4")
    base = checkpoint.load_model()
    rounded = readers(base, record)
    model = peft.PeftModel.from_pretrained(base, folder, is_trainable=True).eval()
    forward = RoundedForward(model, rounded, merged=True)
    assert torch.equal(
        _logits(forward, checkpoint), _logits(emulate(merged.load_merged(), record), checkpoint)
    )

    forward(**example_inputs(checkpoint.config, IDS), labels=IDS).loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_a_lora_in_slots_is_added_to_what_the_rounded_layers_give(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    checkpoint = open_checkpoint(checkpoints("gpt2"))
    folder = save_lora(checkpoints("gpt2"), tmp_path / "lora", std=0.1)
    record = _precision(checkpoint, "int8")
    base = checkpoint.load_model()
    rounded = readers(base, record)
    model = peft.PeftModel.from_pretrained(base, folder).eval()
    found = _logits(RoundedForward(model, rounded, merged=False), checkpoint)
    emulated = emulate(checkpoint.load_model(), record)
    expected = peft.PeftModel.from_pretrained(emulated, folder).eval()
    assert torch.equal(found, _logits(expected, checkpoint))


def test_every_weight_is_trained_and_a_tied_one_once(checkpoints: Callable[[str], Path]) -> None:
    checkpoint = open_checkpoint(checkpoints("gpt2"))
    record = _precision(checkpoint, "int4")
    model = checkpoint.load_model()
    forward = RoundedForward(model, readers(model, record), merged=False)
    before = _logits(forward, checkpoint)
    forward(input_ids=IDS, labels=IDS).loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
    assert not torch.equal(_logits(forward, checkpoint), before), "the weights of the moment"


@pytest.mark.transformers_4
def test_experts_in_stacks_are_refused(checkpoints: Callable[[str], Path]) -> None:
    checkpoint = open_checkpoint(checkpoints("granitemoe"))
    rounded = readers(checkpoint.load_model(), _precision(checkpoint, "int4"))
    with pytest.raises(BeamgenError, match="keeps its experts in stacks") as caught:
        check_trains(rounded, checkpoint.source)
    assert "--method lora" in caught.value.cure
