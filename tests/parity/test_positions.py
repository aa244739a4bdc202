from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from beamgen import find_adapter
from beamgen.parity.positions import takes_positions
from beamgen.parity.reference import Reference
from beamgen.settings.config import SearchConfig
from beamgen.testing.models import tiny_model


def _reference(name: str) -> Reference:
    return Reference(tiny_model(find_adapter(name).tiny_config()))


# One that takes them, one that would and is not given them by transformers 4, one that cannot.
@pytest.mark.parametrize("name", ["gpt2", "ctrl", "openai_gpt", "bart"])
def test_positions_are_given_as_generate_gives_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = _reference(name)
    model, given = reference.model, []
    forward = model.forward

    def watched(*args, **kwargs):
        given.append(kwargs.get("position_ids") is not None)
        return forward(*args, **kwargs)

    expected = takes_positions(model)
    watched.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(model, "forward", watched)
    model.generate(torch.tensor([[0, 5]]), attention_mask=torch.tensor([[0, 1]]), max_new_tokens=2)
    assert given == [expected] * len(given)
    assert given


@pytest.mark.parametrize("name", ["ctrl", "bart"])
def test_a_padded_row_is_rescored_as_hf_scored_it(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the positions that generate has given it, or left to the model; and without a word."""
    reference = _reference(name)
    config = SearchConfig((2,), 0, num_beams=3, max_new_tokens=5, length_penalty=0.0)
    ids, mask = np.array([[0, 0, 0, 5, 9]]), np.array([[0, 0, 0, 1, 1]])
    found = reference.generate(ids, mask, config)
    tokens = found.sequences[0, 0, 5:].tolist()
    length = tokens.index(2) + 1 if 2 in tokens else len(tokens)
    again = reference.score(ids[0], mask[0], tokens[:length], config)
    assert again == pytest.approx(float(found.sequences_scores[0, 0]), abs=1e-4)
    assert capsys.readouterr().out == ""
