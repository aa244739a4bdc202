"""Values of settings: NumPy's numbers, what is no number, and limits that meet others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from transformers import GenerationConfig

from beamgen import BeamgenError, SearchConfig
from beamgen.cli._settings import chosen_settings

BASE = SearchConfig(eos_token_id=(2,), pad_token_id=1)


def test_numpys_numbers_are_numbers() -> None:
    config = BASE.with_overrides(
        {
            "num_beams": np.int64(4),
            "length_penalty": np.float32(0.5),
            "eos_token_id": np.int64(7),
            "pad_token_id": np.int32(3),
        }
    )
    assert config == SearchConfig((7,), 3, num_beams=4, length_penalty=0.5)
    assert SearchConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert BASE.with_overrides({"eos_token_id": np.array([4, 5])}).eos_token_id == (4, 5)


@pytest.mark.parametrize("value", [2.5, "2", "eos", [2, "3"], [[2]], True, -1])
def test_what_is_no_token_id_is_refused(value: object) -> None:
    with pytest.raises(BeamgenError, match="token ids must be whole numbers"):
        BASE.with_overrides({"eos_token_id": value})


@pytest.mark.parametrize("value", [True, "1.0", [1.0], np.float32("nan"), -np.inf])
def test_what_is_no_penalty_is_refused(value: object) -> None:
    with pytest.raises(BeamgenError, match="length_penalty must be a finite number"):
        BASE.with_overrides({"length_penalty": value})


CHECKPOINTS_OWN = {"eos_token_id": 2, "pad_token_id": 1, "max_new_tokens": 50, "min_new_tokens": 9}


@pytest.mark.parametrize(
    ("settings", "lengths"),
    [
        ({}, (50, 9)),
        ({"max_length": 30}, (25, 9)),
        ({"max_length": 30, "max_new_tokens": 12}, (12, 9)),
        ({"min_length": 10}, (50, 5)),
        ({"max_length": 30, "min_length": 0}, (25, 0)),
        ({"max_length": "default"}, (50, 9)),
        ({"max_new_tokens": "default", "max_length": 40}, (35, 9)),
    ],
)
def test_a_limit_given_at_export_replaces_the_checkpoints_own(
    settings: dict, lengths: tuple[int, int]
) -> None:
    """The same rule as for a limit given to a package: none is passed over."""
    own = GenerationConfig(**CHECKPOINTS_OWN)
    config = SearchConfig.from_generation_config(own, settings).for_prompt(5)
    assert (config.max_new_tokens, config.min_new_tokens) == lengths


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("3", 3),
        ("-0.5", -0.5),
        ("never", "never"),
        ("[2, 7]", [2, 7]),
        ("a=b", "a=b"),
        ("", ""),
        ("default", "default"),
        ("null", "default"),
    ],
)
def test_set_reads_json_or_else_a_word(text: str, value: object) -> None:
    assert chosen_settings({"pairs": (f"name={text}",)}) == {"name": value}


@pytest.mark.parametrize("pair", ["name", "=3", ""])
def test_set_needs_a_name_and_a_value(pair: str) -> None:
    with pytest.raises(BeamgenError, match="is no NAME=VALUE"):
        chosen_settings({"pairs": (pair,)})
