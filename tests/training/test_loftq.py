"""LoftQ: trained with a base and a start of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from support.trainings import WITHOUT_BITSANDBYTES, as_if_scipy_was_installed, train, two_lines
from transformers import AutoModelForCausalLM, AutoTokenizer

from beamgen import BeamgenError, find_adapter
from beamgen.tokenizer.load import load_tokenizer

pytestmark = pytest.mark.usefixtures("no_network")


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
    bitsandbytes = pytest.importorskip("bitsandbytes", reason=WITHOUT_BITSANDBYTES)
    as_if_scipy_was_installed(monkeypatch)
    to_device = bitsandbytes.nn.Params4bit.to
    monkeypatch.setattr(bitsandbytes.nn.Params4bit, "to", lambda self, _: to_device(self, "cpu"))
    monkeypatch.setattr("beamgen.training.request.check_machine", lambda method: None)
    with _CudaIsCpu():
        yield


@pytest.mark.usefixtures("loftq")
def test_loftq_writes_the_base_its_lora_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beamgen.training import trainer

    kept = {}
    ids, save = torch.arange(5, 30)[None], trainer._save

    def save_and_keep(request: Any, model: Any, folder: Path) -> None:
        with torch.no_grad():
            kept["logits"] = model.eval()(ids).logits
        save(request, model, folder)

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
    assert load_tokenizer(Path(result.base)).encode("x") == [
        *AutoTokenizer.from_pretrained(demo)("x")["input_ids"]
    ]
    assert (Path(result.base) / "generation_config.json").is_file()


@pytest.mark.usefixtures("loftq")
def test_loftq_refuses_layers_peft_would_get_wrong(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "out", method="loftq", model_class="gpt2")
    assert "peft has no LoftQ for the Conv1D layers of demo:gpt2" in two_lines(caught)
    assert list(tmp_path.iterdir()) == []
