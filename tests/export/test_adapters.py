from __future__ import annotations

from copy import deepcopy
from typing import ClassVar

import pytest
import torch
from support.architectures import ARCHITECTURES, INSTALLED

from beamgen import BeamgenError, DecoderAdapter, adapters, find_adapter
from beamgen.registry import is_encoder_decoder
from beamgen.testing import check_adapter, tiny_model

OTHERS = [each.name for each in INSTALLED if each.name not in ARCHITECTURES]

#: As near to others that a quick test of theirs shows nothing new, or not that quick.
ALIKE = {
    "bigbird_pegasus",
    "blenderbot",
    "blenderbot_small",
    "longt5",
    "marian",
    "mbart_seq2seq",
    "mt5",
    "mvp",
    "nllb_moe",
    "pegasus",
    "pegasus_x",
    "plbart",
    "switch_transformers",
    "umt5",
}
QUICK = [pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in OTHERS]


@pytest.mark.parametrize("name", QUICK)
def test_the_step_of_every_adapter_is_hfs(name: str) -> None:
    """Names, sizes, positions and the exported step; the rest of the suite is slow."""
    assert len(check_adapter(name, quick=True)) == 6


@pytest.mark.parametrize(
    "name",
    ["biogpt", *(pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES if n != "biogpt")],
)
def test_every_adapter_with_a_demo_conforms(name: str) -> None:
    assert len(check_adapter(name)) == 10


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_other_adapter_conforms(name: str) -> None:
    assert len(check_adapter(name)) == (8 if is_encoder_decoder(find_adapter(name)) else 10)


class _Wrong(type(next(a for a in adapters() if a.name == "gpt2"))):  # type: ignore[misc] # a class found at run time
    """GPT-2 with a cache of twice the heads."""

    def kv_geometry(self, config):
        from dataclasses import replace

        geometry = super().kv_geometry(config)
        return replace(geometry, num_kv_heads=geometry.num_kv_heads * 2)


def test_the_suite_lists_every_failing_check() -> None:
    with pytest.raises(BeamgenError) as error:
        check_adapter(_Wrong(), quick=True)
    assert "HF's cache of 3 tokens is (1, 4, 3, 16)" in error.value.cause
    assert "'gpt2' finds another adapter" in error.value.cause


def test_the_class_of_a_tiny_config_is_that_of_the_model_type() -> None:
    class Sized(DecoderAdapter):
        name, model_type, class_names = "sized", "opt", ("OPTForCausalLM",)
        tiny_sizes: ClassVar = {"ffn_dim": 24, "vocab_size": 33}

    config = Sized().tiny_config()
    assert type(config).__name__ == "OPTConfig"
    assert (config.ffn_dim, config.vocab_size, config.hidden_size) == (24, 33, 64)
    assert not hasattr(config, "intermediate_size"), "which the class does not have"
    assert Sized().full_config() is None


def test_a_model_type_without_a_config_is_named() -> None:
    class Unknown(DecoderAdapter):
        name, model_type, class_names = "unknown", "nobody", ("NobodyForCausalLM",)

    with pytest.raises(BeamgenError, match="no config of model_type 'nobody'") as error:
        Unknown().tiny_config()
    assert "define tiny_config" in (error.value.cure or "")


@pytest.mark.parametrize(
    ("name", "value"),
    [("alibi_bias_max", 16), ("alibi", False), ("prefix_lm", True), ("logit_scale", 0.5)],
)
def test_mpt_is_refused_where_hf_computes_something_else(name: str, value: object) -> None:
    """HF's own logits stay what they are whatever these say; MPT-StoryWriter has 16."""
    adapter, ids = find_adapter("mpt"), torch.tensor([[5, 9, 7]])
    config = adapter.tiny_config()
    other = deepcopy(config)
    setattr(other if name == "logit_scale" else other.attn_config, name, value)
    plain, told = tiny_model(config), tiny_model(other)
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, told(ids).logits)
    adapter.prepare(plain)
    with pytest.raises(BeamgenError, match=f"{name} {value}, and MPT of transformers computes"):
        adapter.prepare(told)
