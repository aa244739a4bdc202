"""What is refused before transformers is imported is what it would have been refused for."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import GenerationConfig

from beamgen import BeamgenError, SearchConfig
from beamgen.settings.given import ids_of, known_settings
from beamgen.settings.hf_fields import REFUSED, WITHOUT_EFFECT
from beamgen.settings.rules import UNSAID, installed_rules
from beamgen.settings.table import BY_NAME

STORED: list[dict[str, Any]] = [
    {"eos_token_id": 2, "pad_token_id": 0},
    {"eos_token_id": [2, 7]},
    {"eos_token_id": 2, "num_beams": 3, "max_length": 30, "min_length": 4, "temperature": None},
    {"eos_token_id": 2, "pad_token_id": 0, "do_sample": True, "top_k": None, "top_p": 0.9},
    {"eos_token_id": 2, "num_beams": 1, "bos_token_id": 1, "transformers_version": "4.57.6"},
    {"eos_token_id": 2, "bad_words_ids": [[5, 9], [7]], "early_stopping": "never"},
]
GIVEN: list[dict[str, Any]] = [
    {},
    {"num_beams": 4, "num_return_sequences": 4},
    {"max_new_tokens": 5, "do_sample": False, "length_penalty": None},
    {"max_length": 12, "min_new_tokens": 2, "eos_token_id": (9, 3)},
    {"do_sample": True, "seed": 7, "max_time": None, "num_beam_groups": 1},
    {"sequence_bias": [[[5, 9], -2.0]], "use_cache": False},
]


@pytest.mark.parametrize("given", GIVEN, ids=str)
@pytest.mark.parametrize("stored", STORED, ids=str)
def test_what_is_known_is_what_transformers_finds(
    stored: dict[str, Any], given: dict[str, Any]
) -> None:
    config = GenerationConfig.from_dict(stored)
    found = vars(SearchConfig.from_generation_config(config, given, frozenset(stored)))
    known = known_settings(given, stored, installed_rules())
    assert known == found


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_without_a_file_only_what_is_given_is_known(given: dict[str, Any]) -> None:
    known = known_settings(given, None, UNSAID)
    honoured = {name for name, value in given.items() if value is not None and name in BY_NAME}
    assert known.keys() - {"pad_token_id"} == honoured


@pytest.mark.parametrize(
    "given",
    [
        {"num_beams": 0, "temperature": -1.0},
        {"num_beams": 2, "num_return_sequences": 3},
        {"num_return_sequences": 6},
        {"min_new_tokens": 9, "max_new_tokens": 3},
        {"suppress_tokens": [5], "forced_bos_token_id": 5},
        {"max_time": 2.0},
        {"num_beam_groups": 3, "diversity_penalty": 0.5},
        {"nom_beams": 3},
        {"sequence_bias": 5},
    ],
    ids=str,
)
def test_it_is_refused_in_the_same_words(given: dict[str, Any]) -> None:
    stored = {"eos_token_id": 2, "pad_token_id": 0}
    with pytest.raises(BeamgenError) as late:
        SearchConfig.from_generation_config(
            GenerationConfig.from_dict(stored), given, frozenset(stored)
        )
    with pytest.raises(BeamgenError) as early:
        known_settings(given, stored, UNSAID)
    assert (early.value.cause, early.value.cure) == (late.value.cause, late.value.cure)


def test_what_hangs_on_settings_that_are_not_known_is_left_for_later() -> None:
    """A checkpoint without generation_config.json may have more beams in its config."""
    assert known_settings({"num_return_sequences": 9}, None, UNSAID) == {"num_return_sequences": 9}
    with pytest.raises(BeamgenError, match=r"more than num_beams \(5\)"):
        known_settings({"num_return_sequences": 9}, {"eos_token_id": 2}, UNSAID)
    known = known_settings(
        {"num_return_sequences": 9, "num_beams": "default"}, {"num_beams": 3}, UNSAID
    )
    assert "num_beams" not in known, "HF's default is not known yet"


def test_every_field_of_hf_is_in_a_table() -> None:
    fields = {name for name in GenerationConfig().to_dict() if not name.startswith("_")}
    assert fields <= BY_NAME.keys() | REFUSED.keys() | WITHOUT_EFFECT


def test_ids_are_found_by_the_setting_that_names_them() -> None:
    known = known_settings(
        {"eos_token_id": 5, "bad_words_ids": [[7, 8]], "num_beams": 3}, None, UNSAID
    )
    ids = {name: found for name, found in ids_of(known).items() if found}
    assert ids == {"eos_token_id": (5,), "pad_token_id": (5,), "bad_words_ids": (7, 8)}
