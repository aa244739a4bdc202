"""What the tests of training share."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from beamgen import BeamgenError, FinetuneResult, find_adapter, finetune
from beamgen.checkpoint.checkpoint import demo_checkpoint
from beamgen.tokenizer.load import load_tokenizer
from beamgen.training.data import read_rows
from beamgen.training.token_ids import IGNORE_INDEX, stop_ids, tokenize_rows

Logits = Callable[[list[int]], torch.Tensor]
WITHOUT_BITSANDBYTES = "bitsandbytes is not installed: pip install 'beamgen[finetune]'"
EXAMPLES = Path(__file__).parents[2] / "examples" / "lora"
ROWS = [{"prompt": f"{name} is", "completion": " a drug."} for name in ("aspirin", "codeine")]
CHAT = {
    "messages": [
        {"role": "user", "content": "What is an ant?"},
        {"role": "assistant", "content": "An insect."},
    ]
}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a training reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., Path]:
    """``rows(row, row, ...)``: a JSONL file of them."""

    def write(*given: Any, name: str = "rows.jsonl") -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in given]
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    return write


def train(output: Path, **settings: Any) -> FinetuneResult:
    given = {
        "model_class": "biogpt",
        "data": EXAMPLES / "drugs.jsonl",
        "eval_data": EXAMPLES / "drugs-eval.jsonl",
        "learning_rate": 5e-3,
        "lora_dropout": 0.1,
        "max_steps": 30,
        "save_steps": 10,
    }
    return finetune(output=output, **{**given, **settings})


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


def tokenized(name: str, path: Path, limit: int = 128) -> Any:
    checkpoint = demo_checkpoint(find_adapter(name))
    tokenizer = load_tokenizer(checkpoint.folder)
    return tokenize_rows(read_rows(path), tokenizer, stop_ids(checkpoint, tokenizer), limit)


def two_lines(caught: pytest.ExceptionInfo[BeamgenError]) -> str:
    assert len(str(caught.value).splitlines()) == 2
    assert caught.value.cure
    return caught.value.cause


def mean_loss(logits: Logits, name: str) -> float:
    """The Trainer's, of the drugs' evaluation: per token within a batch, then by rows."""
    rows = tokenized(name, EXAMPLES / "drugs-eval.jsonl")
    total = 0.0
    for batch in (rows[:8], rows[8:]):
        log_probs = []
        for row in batch:
            scores = logits(row.input_ids).log_softmax(-1)
            learned = [at for at, token in enumerate(row.labels) if token != IGNORE_INDEX]
            log_probs += [scores[at - 1, row.labels[at]].item() for at in learned]
        total -= len(batch) * sum(log_probs) / len(log_probs)
    return total / len(rows)


def hf_logits(model: Any) -> Logits:
    """Logits ``[N, V]`` of one row's ids."""

    def logits(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = model(torch.tensor([ids])).logits[0]
        return found

    return logits
