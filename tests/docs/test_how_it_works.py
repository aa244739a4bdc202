"""The forty lines of the page "How it works" find what ``generate`` and the file find."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.pages import blocks

from beamgen import Generator, find_adapter
from beamgen.testing import tiny_model


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """Everything that the page defines before it opens a file."""
    programs = [block.code for block in blocks("docs/how-it-works.md", "python")]
    assert "biogpt-onnx" in programs[-1]
    names: dict[str, Any] = {}
    exec("\n".join(programs[:-1]), names)
    return names


def _of_hf(model: Any) -> Callable[..., np.ndarray]:
    def log_probs(beams: Any, parents: Any) -> np.ndarray:
        with torch.no_grad():
            logits = model(torch.tensor(list(beams))).logits[:, -1]
        return torch.log_softmax(logits, -1).numpy()

    return log_probs


def test_the_search_is_forty_lines() -> None:
    first = next(blocks("docs/how-it-works.md", "python"))
    assert len(first.code.splitlines()) <= 40


@pytest.mark.parametrize("name", ["gpt2", "biogpt", "phi3"])
def test_it_finds_the_hypotheses_of_generate(page: dict[str, Any], name: str) -> None:
    model = tiny_model(find_adapter(name).tiny_config()).eval()
    log_probs = _of_hf(model)
    ended = 0
    for length_penalty, seed in itertools.product([0.0, 1.0, 2.0, -0.5], range(3)):
        prompt = np.random.default_rng(seed).integers(3, 90, 5).tolist()
        ids = list(prompt)
        for _ in range(3):  # what is likeliest in a few steps is the EOS
            ids.append(int(log_probs([ids], None)[0].argmax()))
        eos = ids[-1]
        found = page["beam_search"](log_probs, prompt, 4, 10, eos, length_penalty)
        output = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            num_beams=4,
            num_return_sequences=4,
            max_new_tokens=10,
            eos_token_id=eos,
            pad_token_id=0,
            length_penalty=length_penalty,
            return_dict_in_generate=True,
            output_scores=True,
        )
        for (score, ours), theirs, their_score in zip(
            found, output.sequences.tolist(), output.sequences_scores.tolist(), strict=True
        ):
            assert ours == theirs[: len(ours)]
            assert score == pytest.approx(their_score, rel=1e-4, abs=1e-5)
            ended += ours[-1] == eos
    assert ended


def test_it_finds_the_hypotheses_of_the_file(
    page: dict[str, Any], generators: Callable[[str], Generator]
) -> None:
    model = tiny_model(find_adapter("gpt2").tiny_config()).eval()
    prompt, eos = [5, 9, 7], 2
    found = page["beam_search"](_of_hf(model), prompt, 5, 12, eos)
    settings = {"num_beams": 5, "num_return_sequences": 5, "max_new_tokens": 12}
    (best,) = generators("gpt2").generate([prompt], eos_token_id=eos, **settings)
    assert [ids[len(prompt) :] for _, ids in found] == [each.token_ids for each in best]


def test_all_its_caches_find_the_same(page: dict[str, Any]) -> None:
    """More prompts than the page shows; its own asserts ran when it was read."""
    ends = 0
    for seed in range(20):
        prompt = np.random.default_rng(seed).integers(1, 50, 5).tolist()
        endless = page["beam_search"](page["everything_anew"], prompt, 4, 5, eos=-1)
        eos = endless[1][1][-1]  # a token that comes
        found = [
            page["beam_search"](log_probs, prompt, 4, 15, eos)
            for log_probs in (
                page["everything_anew"],
                page["OneCachePerBeam"](),
                page["Tree"](),
                page["CompactTree"](),
                page["InPieces"](),
            )
        ]
        assert all([ids for _, ids in other] == [ids for _, ids in found[0]] for other in found)
        ends += sum(ids[-1] == eos for _, ids in found[0])
    assert ends


def test_its_processor_is_that_of_generate(page: dict[str, Any]) -> None:
    model = tiny_model(find_adapter("gpt2").tiny_config()).eval()
    prompt = [5, 9, 7]
    processed = page["repetition_penalty"](_of_hf(model), 1.5)
    found = page["beam_search"](processed, prompt, 3, 8, eos=-1)
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        num_beams=3,
        max_new_tokens=8,
        eos_token_id=None,
        pad_token_id=0,
        repetition_penalty=1.5,
    )
    assert found[0][1] == output[0].tolist()
