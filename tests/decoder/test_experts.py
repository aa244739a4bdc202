"""Experts of one tensor, as transformers 5 has them, give what NumPy makes of the same numbers."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from beamgen import BeamgenError, export, find_adapter
from beamgen.decoder.experts import each_alone
from beamgen.decoder.loop_step import LoopCache
from beamgen.testing import tiny_model

EXPERTS, HIDDEN, WIDTH, TOKENS, CHOSEN = 5, 6, 4, 7, 2
KINDS = [
    (gate, bias, transposed)
    for gate in (True, False)
    for bias in (True, False)
    for transposed in (True, False)
]


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _gate(x: torch.Tensor) -> torch.Tensor:
    gate, up = x.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def _module(gate: bool, bias: bool, transposed: bool) -> SimpleNamespace:
    """What ``use_experts_implementation`` says of a module, and its tensors."""
    dice = torch.Generator().manual_seed(0)
    first = "gate_up_proj" if gate else "up_proj"
    between = WIDTH * 2 if gate else WIDTH
    tensors = {}
    for name, into, out in ((first, HIDDEN, between), ("down_proj", WIDTH, HIDDEN)):
        size = (into, out) if transposed else (out, into)
        tensors[name] = torch.randn(EXPERTS, *size, generator=dice)
        if bias:
            tensors[f"{name}_bias"] = torch.randn(EXPERTS, out, generator=dice)
    return SimpleNamespace(
        num_experts=EXPERTS,
        has_gate=gate,
        has_bias=bias,
        is_transposed=transposed,
        act_fn=torch.nn.functional.silu,
        _apply_gate=_gate,
        **tensors,
    )


@pytest.mark.parametrize(("gate", "bias", "transposed"), KINDS)
def test_each_token_goes_through_its_experts(gate: bool, bias: bool, transposed: bool) -> None:
    experts = _module(gate, bias, transposed)
    dice = np.random.default_rng(1)
    hidden = dice.normal(size=(TOKENS, HIDDEN)).astype(np.float32)
    index = np.stack([dice.permutation(EXPERTS - 1)[:CHOSEN] for _ in range(TOKENS)])
    weights = dice.random((TOKENS, CHOSEN)).astype(np.float32)
    expected = np.zeros((TOKENS, HIDDEN))
    for token in range(TOKENS):
        for number, weight in zip(index[token], weights[token], strict=True):
            x = hidden[token]
            for name in ("gate_up_proj" if gate else "up_proj", "down_proj"):
                matrix = getattr(experts, name)[number].numpy()
                x = x @ (matrix if transposed else matrix.T)
                x = x + getattr(experts, f"{name}_bias")[number].numpy() if bias else x
                if name != "down_proj":
                    x = _silu(x[:WIDTH]) * x[WIDTH:] if gate else _silu(x)
            expected[token] += weight * x
    found = each_alone(experts, *map(torch.from_numpy, (hidden, index, weights)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_keys_that_a_layer_makes_of_its_cache_are_its_own() -> None:
    """Only what the cache gave, as it is, can be left to a node that reads the prompt's cache."""
    pair = (torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4))
    cache = LoopCache([pair], [pair], torch.tensor(2))
    key, value = cache.update(torch.ones(1, 1, 3, 4), torch.ones(1, 1, 3, 4), 0)
    assert cache.gave(0, key, value)
    assert cache.gave(0, key.view(key.shape), value)
    assert not cache.gave(0, key * 1, value)
    assert not cache.gave(0, key, value.expand(1, 2, 5, 4))
    assert not cache.gave(1, key, value)


@pytest.mark.transformers_5
def test_latents_are_cached_where_values_are_as_wide_as_keys(tmp_path: Path) -> None:
    """Only that its keys are its own tells then that a node cannot attend for the layer."""
    adapter = find_adapter("deepseek_v3")
    config = deepcopy(adapter.tiny_config())
    config.qk_nope_head_dim, config.v_head_dim = 8, 16
    config.qk_head_dim = config.qk_nope_head_dim + config.qk_rope_head_dim
    assert config.qk_head_dim == config.v_head_dim
    tiny_model(config).save_pretrained(tmp_path / "checkpoint")
    report = export(tmp_path / "checkpoint", tmp_path / "package").parity
    assert report is not None
    assert report.exit_code == 0


@pytest.mark.transformers_5
def test_experts_in_fewer_bits_are_refused_with_the_reason(tmp_path: Path) -> None:
    tiny_model(find_adapter("mixtral").tiny_config()).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(BeamgenError, match="keeps in one tensor with others") as error:
        export(tmp_path / "checkpoint", tmp_path / "package", precision="int8")
    assert error.value.cure.startswith("export in fp32")
