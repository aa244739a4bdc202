"""QLoRA and LoftQ: trained against a base in four bits."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from support.trainings import train, two_lines
from transformers import AutoModelForCausalLM, AutoTokenizer

from beamgen import BeamgenError, find_adapter, finetune
from beamgen.checkpoint.tokenizer import load_tokenizer

REASON = "bitsandbytes is not installed: pip install 'beamgen[finetune]'"

pytestmark = pytest.mark.usefixtures("no_network")


def test_qlora_learns_on_an_nf4_base(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason=REASON)
    result = train(tmp_path / "q", method="qlora")
    full = train(tmp_path / "full", max_steps=1)
    assert result.eval_loss < 1.0
    assert result.eval_loss_before != pytest.approx(full.eval_loss_before, abs=1e-4)
    base = AutoModelForCausalLM.from_pretrained(find_adapter("biogpt").demo).eval()
    peft.PeftModel.from_pretrained(base, result.folder)
    assert result.base == "demo:biogpt"


@pytest.mark.parametrize(
    ("method", "missing"), [("lora", "peft"), ("qlora", "bitsandbytes"), ("loftq", "bitsandbytes")]
)
def test_a_missing_package_is_named_before_anything_is_read(
    method: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == missing else find_spec(name, *rest),
    )
    with pytest.raises(BeamgenError) as caught:
        finetune("nowhere", "nothing.jsonl", tmp_path / "out", method=method)
    assert f"--method {method} needs the package '{missing}'" in two_lines(caught)
    assert caught.value.cure == "pip install 'beamgen[finetune]'"


def test_bitsandbytes_that_cannot_quantize_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functional = pytest.importorskip("bitsandbytes.functional", reason=REASON)

    def broken(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no kernel for 'cpu'")

    monkeypatch.setattr(functional, "quantize_4bit", broken)
    with pytest.raises(BeamgenError) as caught:
        finetune("nowhere", "nothing.jsonl", tmp_path / "out", method="qlora")
    assert "--method qlora cannot run on this machine" in two_lines(caught)
    assert "no kernel for 'cpu'" in caught.value.cause


def _as_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """scipy: peft asks whether it is there, and then does without."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: find_spec("math" if name == "scipy" else name, *rest),
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it can run")
def test_loftq_says_that_it_needs_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bitsandbytes", reason=REASON)
    _as_if_installed(monkeypatch)
    with pytest.raises(BeamgenError) as caught:
        finetune("nowhere", "nothing.jsonl", tmp_path / "out", method="loftq")
    assert "loftq cannot run on this machine: peft computes LoftQ's start on a GPU only" in (
        two_lines(caught)
    )


class _CudaIsCpu(torch.overrides.TorchFunctionMode):
    """``tensor.to("cuda")`` stays where it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to and kwargs.get("device") == "cuda":
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


@pytest.fixture
def loftq(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LoftQ with everything but the GPU."""
    bitsandbytes = pytest.importorskip("bitsandbytes", reason=REASON)
    _as_if_installed(monkeypatch)
    to_device = bitsandbytes.nn.Params4bit.to
    monkeypatch.setattr(bitsandbytes.nn.Params4bit, "to", lambda self, _: to_device(self, "cpu"))
    monkeypatch.setattr("beamgen.training.trainer.why_not", lambda method: "")
    with _CudaIsCpu():
        yield


@pytest.mark.usefixtures("loftq")
def test_loftq_writes_the_base_its_lora_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beamgen.training import trainer

    kept = {}
    ids, save = torch.arange(5, 30)[None], trainer._save

    def save_and_keep(job: Any, model: Any, folder: Path) -> None:
        with torch.no_grad():
            kept["logits"] = model.eval()(ids).logits
        save(job, model, folder)

    monkeypatch.setattr(trainer, "_save", save_and_keep)
    result = train(tmp_path / "l", method="loftq", max_steps=5)
    config = json.loads((result.folder / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True
    assert config["base_model_name_or_path"] == result.base == str(result.folder / "base")

    base = AutoModelForCausalLM.from_pretrained(result.base).eval()
    demo = find_adapter("biogpt").demo
    with torch.no_grad():
        original = AutoModelForCausalLM.from_pretrained(demo).eval()(ids).logits
        assert (base(ids).logits - original).abs().max() > 0.1, "its weights are LoftQ's"
        lora = peft.PeftModel.from_pretrained(base, result.folder).eval()
        assert (lora(ids).logits - kept["logits"]).abs().max() < 1e-4
    assert load_tokenizer(Path(result.base))("x")["input_ids"] == [
        *AutoTokenizer.from_pretrained(demo)("x")["input_ids"]
    ]
    assert (Path(result.base) / "generation_config.json").is_file()


@pytest.mark.usefixtures("loftq")
def test_loftq_refuses_layers_peft_would_get_wrong(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "out", method="loftq", model_class="gpt2")
    assert "peft has no LoftQ for the Conv1D layers of demo:gpt2" in two_lines(caught)
    assert list(tmp_path.iterdir()) == []
