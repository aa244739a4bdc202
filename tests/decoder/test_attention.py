"""What layers ask of attention is done, or refused by its name; never dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from beamgen import BeamgenError, find_adapter
from beamgen.decoder.attention import Asked, asked_by, plain_attention
from beamgen.decoder.export import export_decoder
from beamgen.testing import tiny_model

QUERY = torch.zeros(1, 4, 3, 16)


def _asked(**given) -> Asked:
    return asked_by(torch.nn.Identity(), QUERY, QUERY, given)


def test_what_changes_nothing_is_let_through() -> None:
    given = {"dropout": 0.0, "position_ids": QUERY, "use_cache": True, "layer_head_mask": None}
    assert _asked(**given) == Asked(scale=0.25)
    assert _asked(scaling=2.0, sliding_window=8) == Asked(scale=2.0, window=8)


@pytest.mark.parametrize(
    ("name", "value"),
    [("head_mask", QUERY), ("relative_bias", QUERY), ("dropout", 0.1), ("qk_norm", True)],
)
def test_the_unknown_is_refused_by_its_name(name: str, value) -> None:
    with pytest.raises(BeamgenError, match=f"Identity asks attention for {name}, which"):
        _asked(**{name: value})


def test_attention_in_both_directions_is_refused() -> None:
    layer = torch.nn.Identity()
    layer.is_causal = False
    with pytest.raises(BeamgenError, match="is_causal=False"):
        asked_by(layer, QUERY, QUERY, {})


def test_an_adapters_layer_is_refused_through_export(tmp_path: Path) -> None:
    adapter = find_adapter("gpt2")
    model = tiny_model(adapter.tiny_config())

    def forward(layer, *given, **more):
        return own(layer, *given, **more, logit_bias=1.0)

    own = type(model.transformer.h[1].attn).forward
    model.transformer.h[1].attn.forward = forward.__get__(model.transformer.h[1].attn)
    with pytest.raises(BeamgenError, match="GPT2Attention asks attention for logit_bias"):
        export_decoder(adapter, model, tmp_path)


def _by_hand(query, keys, values, bias, scale, cap, sinks):
    """One query of one head at a time, in float64."""
    out = np.zeros_like(query)
    for head in range(query.shape[1]):
        for new in range(query.shape[2]):
            shared = head // (query.shape[1] // keys.shape[1])
            scores = keys[0, shared] @ query[0, head, new] * scale
            scores = cap * np.tanh(scores / cap) + bias[0, 0, new]
            weights = np.exp(scores)
            weights /= weights.sum() + np.exp(sinks[head])
            out[0, head, new] = weights @ values[0, shared]
    return out


def test_caps_and_sinks_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    query, keys, values = (rng.normal(size=(1, heads, 3, 8)) * 3 for heads in (4, 2, 2))
    bias = np.where(np.tri(3, dtype=bool), 0.0, -1e30)[None, None]
    sinks = rng.normal(size=4)
    given = [torch.from_numpy(array) for array in (query, keys, values, bias)]
    found = plain_attention(*given, 0.5, 0.7, torch.from_numpy(sinks))
    expected = _by_hand(query, keys, values, bias, 0.5, 0.7, sinks)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
