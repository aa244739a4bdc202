"""QLoRA: trained against a base in nf4, on any kind of processor.

bitsandbytes computes in other ways on CPUs with AVX-512 and with AVX512-BF16. Both are
tried here whatever this CPU is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from support.trainings import WITHOUT_BITSANDBYTES, train, two_lines
from transformers import AutoModelForCausalLM, AutoTokenizer

from beamgen import BeamgenError, find_adapter
from beamgen.checkpoint.checkpoint import Checkpoint, open_checkpoint
from beamgen.testing import tiny_model
from beamgen.training import nf4

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(params=[False, True], ids=["any CPU", "AVX512-BF16"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either kind, whatever this one is: on the second bitsandbytes would repack layers."""
    modules = pytest.importorskip("bitsandbytes.nn.modules", reason=WITHOUT_BITSANDBYTES)
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: request.param)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BioGPT of random weights and the demo's tokenizer, 64 and 128 wide."""
    adapter, folder = find_adapter("biogpt"), tmp_path_factory.mktemp("untrained") / "biogpt"
    tokenizer, config = AutoTokenizer.from_pretrained(adapter.demo), adapter.tiny_config()
    config.vocab_size, config.eos_token_id = len(tokenizer), tokenizer.eos_token_id
    tiny_model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.usefixtures("processor")
def test_qlora_learns_on_an_nf4_base(untrained: Path, tmp_path: Path) -> None:
    options = {"model": untrained, "model_class": None, "learning_rate": 1e-2}
    result = train(tmp_path / "q", method="qlora", **options)
    full = train(tmp_path / "full", max_steps=1, **options)
    assert result.eval_loss_before > 7
    assert result.eval_loss < 4
    assert result.eval_loss_before != pytest.approx(full.eval_loss_before, abs=1e-5)
    base = AutoModelForCausalLM.from_pretrained(untrained).eval()
    peft.PeftModel.from_pretrained(base, result.folder)
    assert result.base == str(untrained)


@pytest.mark.usefixtures("processor")
def test_an_evaluation_leaves_the_gradient_as_it_was(checkpoints: Callable[[str], Path]) -> None:
    """Once it is repacked, a layer would go on without a gradient, and silently."""
    model = nf4.load_nf4(open_checkpoint(checkpoints("phi3")))
    ids = torch.arange(5, 20)[None]

    def gradient() -> torch.Tensor:
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
        model.train()(inputs_embeds=embedded).logits.square().sum().backward()
        return embedded.grad

    before = gradient()
    with torch.no_grad():
        model.eval()(ids)
    assert before.any()
    assert torch.equal(gradient(), before)


def _by_hand(packed: torch.Tensor, scales: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """Numbers of four bits, two in a byte, the scale of each 64."""
    numbers = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], -1).flatten()
    return code[numbers.long()] * scales.repeat_interleave(64)[: len(numbers)]


@pytest.mark.parametrize("width", [16, 24, 32, 64, 96, 128, 192, 200])
def test_the_probe_tells_which_widths_are_read_correctly(width: int) -> None:
    """Whatever this CPU is: a layer is right if and only if the probe says so."""
    functional = pytest.importorskip("bitsandbytes.functional", reason=WITHOUT_BITSANDBYTES)
    weight = torch.randn(32, width, generator=torch.Generator().manual_seed(0))
    packed, state = functional.quantize_4bit(weight, quant_type="nf4")
    expected = _by_hand(packed, state.absmax, state.code).reshape(weight.shape)
    found = functional.dequantize_4bit(packed, state)
    assert nf4.dequantizes(width) == torch.allclose(found, expected, atol=1e-6)
    assert nf4.dequantizes(width) or width % 64, "multiples are right everywhere"


def test_widths_that_are_read_wrongly_are_refused_before_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bitsandbytes", reason=WITHOUT_BITSANDBYTES)

    def load(checkpoint: Checkpoint) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr("beamgen.training.trainer.load_nf4", load)
    monkeypatch.setattr(nf4, "dequantizes", lambda width: width % 64 == 0)
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "out", method="qlora")
    assert "demo:biogpt has layers 96 wide" in two_lines(caught)
    assert "--method lora" in caught.value.cure
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(nf4, "dequantizes", lambda width: True)
    with pytest.raises(AssertionError, match="the weights were loaded"):
        train(tmp_path / "out", method="qlora")
