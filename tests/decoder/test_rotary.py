"""LongRoPE's factors are chosen by the length of a whole forward pass, in the trace."""

from __future__ import annotations

import pytest
import torch
from transformers import CohereConfig, LlamaConfig, PhimoeConfig
from transformers.models.cohere.modeling_cohere import CohereRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phimoe.modeling_phimoe import PhimoeRotaryEmbedding

from beamgen.decoder.rotary import PlainRotary, traceable_rotary

BOUNDARY = 8
FACTORS = {"short_factor": [1.0, 1.2, 1.4, 1.6], "long_factor": [2.0, 3.0, 5.0, 9.0]}


def _config() -> LlamaConfig:
    scaling = {"rope_type": "longrope", "factor": 4.0, **FACTORS}
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "max_position_embeddings": 32}
    config = LlamaConfig(**sizes, rope_scaling=scaling)
    config.original_max_position_embeddings = BOUNDARY
    return config


@pytest.fixture
def rotary():
    model = torch.nn.Sequential(LlamaRotaryEmbedding(_config()))
    (found,) = traceable_rotary(model)
    assert model[0] is found
    return found


@pytest.mark.parametrize("length", [BOUNDARY, BOUNDARY + 1])
def test_on_either_side_the_angles_are_those_of_the_factors(rotary, length: int) -> None:
    places = torch.arange(length)[None]
    rotary.seq_len = torch.tensor(length)
    cosines, sines = rotary(torch.zeros(1), places)
    factors = FACTORS["long_factor" if length > BOUNDARY else "short_factor"]
    bands = 10000.0 ** -(torch.arange(4) / 4) / torch.tensor(factors)
    angles = torch.cat([places[0, :, None] * bands] * 2, dim=-1)
    # the attention factor of LongRoPE
    scale = (1 + torch.log(torch.tensor(4.0)) / torch.log(torch.tensor(float(BOUNDARY)))) ** 0.5
    torch.testing.assert_close(cosines[0], angles.cos() * scale)
    torch.testing.assert_close(sines[0], angles.sin() * scale)
    theirs = LlamaRotaryEmbedding(_config())(torch.zeros(1), places)
    torch.testing.assert_close((cosines, sines), theirs)


@pytest.mark.transformers_4  # with 5 PhiMoE's factors never change, and it is refused
@pytest.mark.parametrize("length", [BOUNDARY, BOUNDARY + 1])
def test_scales_are_chosen_with_the_factors(length: int) -> None:
    """PhiMoE multiplies by one of two numbers, and makes a table of angles at each call."""
    scaling = {"type": "longrope", **FACTORS, "short_mscale": 1.1, "long_mscale": 1.3}
    config = PhimoeConfig(
        hidden_size=16,
        num_attention_heads=2,
        max_position_embeddings=32,
        rope_theta=10000.0,
        rope_scaling={**scaling, "original_max_position_embeddings": BOUNDARY},
    )
    (rotary,) = traceable_rotary(torch.nn.Sequential(PhimoeRotaryEmbedding(config)))
    rotary.seq_len = torch.tensor(length)
    cosines, sines = rotary(torch.zeros(1), seq_len=20)  # of more entries than positions
    long = length > BOUNDARY
    bands = 10000.0 ** -(torch.arange(4) / 4) / torch.tensor(
        FACTORS["long_factor" if long else "short_factor"]
    )
    angles = torch.cat([torch.arange(20)[:, None] * bands] * 2, dim=-1)
    scale = 1.3 if long else 1.1
    torch.testing.assert_close(cosines, angles.cos() * scale)
    torch.testing.assert_close(sines, angles.sin() * scale)


def test_a_plain_embedding_is_taken_only_where_its_angles_are_the_models() -> None:
    """Cohere's halves alternate, so that its own stays."""
    sizes = {"hidden_size": 16, "num_attention_heads": 2}
    model = torch.nn.Sequential(
        LlamaRotaryEmbedding(LlamaConfig(**sizes)), CohereRotaryEmbedding(CohereConfig(**sizes))
    )
    own = list(model)
    expected = [each(torch.zeros(1), torch.arange(9)[None]) for each in own]
    assert traceable_rotary(model) == []
    assert [type(each) for each in model] == [PlainRotary, CohereRotaryEmbedding]
    for each, angles in zip(model, expected, strict=True):
        torch.testing.assert_close(each(torch.zeros(1), torch.arange(9)[None]), angles)


def test_a_piece_has_the_factors_of_the_whole_prompt(rotary) -> None:
    piece = torch.arange(3)[None]
    rotary.seq_len = torch.tensor(BOUNDARY + 1)
    whole = LlamaRotaryEmbedding(_config())(torch.zeros(1), torch.arange(BOUNDARY + 1)[None])
    torch.testing.assert_close(rotary(torch.zeros(1), piece)[0], whole[0][:, :3])
