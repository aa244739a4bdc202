"""QLoRA: trained against a base in nf4, on either kind of processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from support.trainings import WITHOUT_BITSANDBYTES, train
from transformers import AutoModelForCausalLM

from beamgen import find_adapter
from beamgen.checkpoint.checkpoint import open_checkpoint

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(params=[False, True], ids=["any CPU", "AVX512-BF16"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either kind, whatever this one is: on the second bitsandbytes would repack layers."""
    modules = pytest.importorskip("bitsandbytes.nn.modules", reason=WITHOUT_BITSANDBYTES)
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: request.param)


@pytest.mark.usefixtures("processor")
def test_qlora_learns_on_an_nf4_base(tmp_path: Path) -> None:
    result = train(tmp_path / "q", method="qlora")
    full = train(tmp_path / "full", max_steps=1)
    assert result.eval_loss < 1.0
    assert result.eval_loss_before != pytest.approx(full.eval_loss_before, abs=1e-4)
    base = AutoModelForCausalLM.from_pretrained(find_adapter("biogpt").demo).eval()
    peft.PeftModel.from_pretrained(base, result.folder)
    assert result.base == "demo:biogpt"


@pytest.mark.usefixtures("processor")
def test_an_evaluation_leaves_the_gradient_as_it_was(checkpoints: Callable[[str], Path]) -> None:
    """At widths that can be repacked, a layer would go on without a gradient, and silently."""
    from beamgen.training.nf4 import load_nf4

    model, ids = load_nf4(open_checkpoint(checkpoints("phi3"))), torch.arange(5, 20)[None]

    def gradient() -> torch.Tensor:
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
        model.train()(inputs_embeds=embedded).logits.square().sum().backward()
        return embedded.grad

    before = gradient()
    with torch.no_grad():
        model.eval()(ids)
    assert before.any()
    assert torch.equal(gradient(), before)
