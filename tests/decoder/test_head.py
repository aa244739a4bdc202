"""Logits are what the model's own forward makes of hidden states."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    PhiConfig,
)

from beamgen import BeamgenError
from beamgen.decoder import head

SIZES = {
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "intermediate_size": 16,
    "vocab_size": 32,
    "pad_token_id": 0,
}


def _model(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def _logits(model, hidden):
    with torch.no_grad():
        return head.logits(model, hidden)


HIDDEN = torch.linspace(-3, 3, 2 * 3 * 16).reshape(2, 3, 16)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LlamaConfig(**SIZES), lambda x: x),
        (GraniteConfig(**SIZES, logits_scaling=8.0), lambda x: x / 8),
        (CohereConfig(**SIZES, logit_scale=0.25), lambda x: x * 0.25),
        (Gemma2Config(**SIZES, final_logit_softcapping=0.5), lambda x: torch.tanh(x / 0.5) * 0.5),
        (Gemma3TextConfig(**SIZES, final_logit_softcapping=2.0), lambda x: torch.tanh(x / 2) * 2),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_what_follows_the_product_is_done(config, expected) -> None:
    model = _model(config)
    product = HIDDEN @ model.lm_head.weight.T
    assert product.abs().max() > 0.1
    torch.testing.assert_close(_logits(model, HIDDEN), expected(product))


def test_a_bias_of_the_head_is_added() -> None:
    model = _model(PhiConfig(**SIZES))
    model.lm_head.bias.data.copy_(torch.arange(32.0))
    expected = HIDDEN @ model.lm_head.weight.T + torch.arange(32.0)
    torch.testing.assert_close(_logits(model, HIDDEN), expected)


def test_the_model_is_as_it_was_afterwards() -> None:
    model = _model(GraniteConfig(**SIZES, logits_scaling=8.0))
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        before = model(input_ids=ids).logits
        head.logits(model, HIDDEN)
        torch.testing.assert_close(model(input_ids=ids).logits, before)


def test_a_model_that_asks_no_backbone_is_refused() -> None:
    model = _model(LlamaConfig(**SIZES))
    model.forward = lambda **_: type("Output", (), {"logits": torch.zeros(2, 3, 32)})()
    with pytest.raises(BeamgenError, match="LlamaForCausalLM computes its logits without"):
        _logits(model, HIDDEN)
