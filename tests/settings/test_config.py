from __future__ import annotations

import numpy as np
import pytest
from support.setting_values import OF_OTHER_RELEASES, OTHER
from transformers import GenerationConfig

from beamgen import BeamgenError, Constraint, SearchConfig
from beamgen.settings.config import stacked_inputs
from beamgen.settings.hf_fields import REFUSED, WITHOUT_EFFECT, hf_defaults
from beamgen.settings.rules import RULES
from beamgen.settings.setting import IDS, TIMES
from beamgen.settings.table import PER_ROW, SETTINGS, parameters_with

BASE = SearchConfig(eos_token_id=(2,), pad_token_id=1)

FIELDS = [name for name in vars(GenerationConfig()) if not name.startswith("_")]


def _from(**fields) -> SearchConfig:
    config = GenerationConfig(eos_token_id=2, pad_token_id=1)
    for name, value in fields.items():
        setattr(config, name, value)
    return SearchConfig.from_generation_config(config)


def test_the_table_above_covers_the_class() -> None:
    assert set(FIELDS) == set(OTHER)


#: The one form of values that HF writes in several.
CANONICAL = {
    "eos_token_id": (5,), "forced_eos_token_id": (5,), "suppress_tokens": (5,),
    "begin_suppress_tokens": (5,), "bad_words_ids": ((5,),), "sequence_bias": (((5,), 1.0),),
}  # fmt: skip
SUPPORTED = set(SearchConfig.__dataclass_fields__)


#: With how many beams a setting goes, where not with any; the second by later rules only.
BEAMS_OF = {
    "num_return_sequences": {"num_beams": 4},
    "encoder_repetition_penalty": {"do_sample": True},
}


def test_every_field_stands_in_one_table() -> None:
    named = WITHOUT_EFFECT | set(REFUSED)
    assert set(FIELDS) == SUPPORTED & set(FIELDS) | named - OF_OTHER_RELEASES
    assert named >= OF_OTHER_RELEASES
    assert not SUPPORTED & WITHOUT_EFFECT | SUPPORTED & set(REFUSED) | WITHOUT_EFFECT & set(REFUSED)
    # what HF does not have
    assert SUPPORTED - set(FIELDS) == {s.name for s in SETTINGS if not s.in_hf}


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "stop_strings"])
def test_every_field_is_honoured_without_effect_or_refused_by_name(name: str) -> None:
    fields = {name: OTHER[name]}
    fields |= BEAMS_OF.get(name, {})
    if name in SUPPORTED:
        assert getattr(_from(**fields), name) == CANONICAL.get(name, OTHER[name])
    elif name in WITHOUT_EFFECT:
        assert _from(**fields) == BASE
    else:
        with pytest.raises(BeamgenError) as error:
            _from(**fields)
        assert f"{name}=" in error.value.cause
        assert REFUSED[name] in error.value.cause
        assert f"--set {name}=default" in error.value.cure


def test_stop_strings_of_a_checkpoint_are_given_when_generating() -> None:
    with pytest.raises(BeamgenError, match=r"stop_strings \['x'\] take a tokenizer") as error:
        _from(stop_strings=["x"])
    assert "--set stop_strings=default" in error.value.cure


def test_every_refused_field_is_named_at_once() -> None:
    with pytest.raises(BeamgenError) as error:
        _from(penalty_alpha=0.6, guidance_scale=1.5, max_time=3.0)
    for name in ("penalty_alpha=0.6", "guidance_scale=1.5", "max_time=3.0"):
        assert name in error.value.cause


def test_a_refused_field_can_be_reset() -> None:
    config = GenerationConfig(eos_token_id=2, pad_token_id=1, penalty_alpha=0.7)
    with pytest.raises(BeamgenError):
        SearchConfig.from_generation_config(config)
    assert SearchConfig.from_generation_config(config, {"penalty_alpha": "default"}) == BASE


@pytest.mark.parametrize(("release", "top_k"), [("4.57", 0), ("5.18", 50), ("5.24", 50)])
def test_what_hf_takes_for_off_is_off(release: str, top_k: int) -> None:
    """An explicit null for top_k turned it off, though HF's default is 50."""
    config = GenerationConfig(eos_token_id=2, pad_token_id=1, top_k=None, temperature=None)
    found = SearchConfig.from_generation_config(
        config, spelled_out={"top_k", "temperature"}, rules=RULES[release]
    )
    assert (found.top_k, found.temperature) == (top_k, 1.0)
    assert BASE.top_k == hf_defaults()["top_k"] == 50


def test_hfs_default_is_one_whatever_its_class_begins_with() -> None:
    """A fresh config of transformers 5 holds nothing."""
    given = {"top_k": "default", "num_beams": "default", "do_sample": True}
    found = SearchConfig.from_generation_config(
        GenerationConfig(eos_token_id=2, pad_token_id=1, top_k=7, num_beams=3), given
    )
    assert (found.top_k, found.num_beams) == (50, 1)


def test_a_checkpoints_sampling_settings_wait_for_do_sample() -> None:
    config = _from(temperature=0.7, top_p=0.9)
    assert not config.do_sample
    assert config.with_overrides({"do_sample": True}).temperature == 0.7


@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p", "min_p", "seed"])
def test_a_setting_of_sampling_without_sampling_is_refused(name: str) -> None:
    with pytest.raises(BeamgenError, match=f"{name} would change nothing") as error:
        BASE.with_overrides({name: 1})
    assert "--do-sample" in error.value.cure
    assert BASE.with_overrides({name: 1, "do_sample": True}).do_sample


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0), ("temperature", -1.0), ("temperature", float("nan")), ("top_k", -1),
        ("top_k", 2.5), ("top_p", 0), ("top_p", 1.01), ("min_p", -0.1), ("typical_p", 0.0),
        ("epsilon_cutoff", 1.0), ("eta_cutoff", -1e-9), ("repetition_penalty", 0.0),
        ("no_repeat_ngram_size", -1), ("seed", -1), ("seed", 2**63), ("seed", 1.5),
        ("do_sample", 1), ("remove_invalid_values", "yes"), ("forced_bos_token_id", -3),
        ("forced_eos_token_id", [1.5]), ("suppress_tokens", ["a"]), ("bad_words_ids", [[]]),
        ("bad_words_ids", [[-1]]), ("sequence_bias", {(5,): float("inf")}),
        ("sequence_bias", {(): 1.0}), ("temperature", 1e300), ("length_penalty", -1e39),
        ("exponential_decay_length_penalty", (2, 1e300)), ("constraint", [[5]]), ("constraint", 3),
        ("exponential_decay_length_penalty", (0, 1.0)),
        ("exponential_decay_length_penalty", (3,)), ("exponential_decay_length_penalty", "x"),
    ],
)  # fmt: skip
def test_impossible_values_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BeamgenError) as error:
        BASE.with_overrides({"do_sample": True, name: value})
    assert name in error.value.cause
    assert error.value.cure


@pytest.mark.parametrize("value", [5, "text", [5], [[[5], 1.0, 2.0]]])
def test_what_is_no_list_of_sequences_is_refused(value: object) -> None:
    with pytest.raises(BeamgenError, match="sequence_bias"):
        BASE.with_overrides({"sequence_bias": value})


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"num_beams": 1, "num_return_sequences": 2}, "more than num_beams"),
        ({"forced_eos_token_id": 5, "suppress_tokens": [5]}, "bans 5, which is forced"),
        ({"forced_bos_token_id": 5, "suppress_tokens": [4, 5]}, "bans 5, which is forced"),
        (
            {"max_new_tokens": 1, "forced_eos_token_id": [5], "begin_suppress_tokens": [4, 5]},
            "bans 5, which is forced as the first and only",
        ),
        ({"constraint": Constraint.choices([[5]]), "eos_token_id": []}, "end with an EOS"),
        ({"constraint": Constraint.choices([[5, 2]])}, "holds the EOS id 2"),
        (
            {"constraint": Constraint.choices([[5]]), "forced_eos_token_id": 2},
            "out of the constraint",
        ),
        (
            {"constraint": Constraint.choices([[5]]), "forced_bos_token_id": 5},
            "out of the constraint",
        ),
        (
            {"constraint": Constraint.choices([[5]]), "remove_invalid_values": True},
            "out of the constr",
        ),
    ],
)
def test_contradictions_are_refused(settings: dict, cause: str) -> None:
    with pytest.raises(BeamgenError, match=cause):
        BASE.with_overrides(settings)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_a_file_cannot_honour_is_refused_with_the_reason_when_generating(name: str) -> None:
    with pytest.raises(BeamgenError) as error:
        BASE.with_overrides({name: OTHER.get(name, 0.5)})
    assert name in error.value.cause
    assert REFUSED[name] in error.value.cause


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_what_has_no_effect_is_said_to_have_none(name: str) -> None:
    told = "is no setting of a search" if name == "decoder_start_token_id" else "changes nothing"
    with pytest.raises(BeamgenError, match=f"{name} {told}"):
        BASE.with_overrides({name: OTHER.get(name, 0.5)})


def test_one_sampled_beam_gives_any_number_of_sequences() -> None:
    config = BASE.with_overrides({"num_beams": 1, "num_return_sequences": 7, "do_sample": True})
    assert config.num_return_sequences == 7


def test_a_checkpoint_that_samples_keeps_hfs_one_beam() -> None:
    config = GenerationConfig(eos_token_id=2, pad_token_id=1, do_sample=True)
    assert SearchConfig.from_generation_config(config).num_beams == 1
    assert SearchConfig.from_generation_config(config, {"num_beams": 4}).num_beams == 4
    # who asks for sampling here asks for it with the beams that are the default here
    plain = GenerationConfig(eos_token_id=2, pad_token_id=1)
    assert SearchConfig.from_generation_config(plain, {"do_sample": True}).num_beams == 5


def test_the_callers_settings_win() -> None:
    config = GenerationConfig(eos_token_id=2, pad_token_id=1, num_beams=4, length_penalty=2.0)
    found = SearchConfig.from_generation_config(config, {"num_beams": 1, "length_penalty": None})
    assert (found.num_beams, found.length_penalty) == (1, 2.0)


def test_eos_and_pad_follow_hf() -> None:
    assert _from(eos_token_id=[7, 8]).eos_token_id == (7, 8)
    assert _from(pad_token_id=None).pad_token_id == 2
    with pytest.raises(BeamgenError, match="names no eos_token_id") as error:
        _from(eos_token_id=None)
    assert "--eos-token-id" in error.value.cure
    none = GenerationConfig(pad_token_id=1)
    assert SearchConfig.from_generation_config(none, {"eos_token_id": ()}).eos_token_id == ()
    with pytest.raises(BeamgenError, match="neither a pad_token_id nor an eos_token_id"):
        SearchConfig.from_generation_config(GenerationConfig(), {"eos_token_id": ()})


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(BeamgenError) as error:
        SearchConfig(
            (2, -1), 1, num_beams=0, max_new_tokens=2.5, min_new_tokens=-1,
            length_penalty=float("inf"), early_stopping="maybe",
        )  # fmt: skip
    cause = error.value.cause
    for name in ("num_beams", "max_new_tokens", "min_new_tokens", "length_penalty"):
        assert name in cause
    assert "early_stopping" in cause
    assert "-1" in cause


@pytest.mark.parametrize("flag", [True, False])
def test_a_flag_is_no_number(flag: bool) -> None:
    with pytest.raises(BeamgenError, match="num_beams"):
        SearchConfig((2,), 1, num_beams=flag)


def test_minimum_above_maximum_is_refused() -> None:
    with pytest.raises(BeamgenError, match=r"min_new_tokens \(9\) is more than"):
        SearchConfig((2,), 1, max_new_tokens=5, min_new_tokens=9)


def test_lengths_that_count_the_prompt_are_translated() -> None:
    config = BASE.with_overrides({"max_length": 20, "min_length": 12}).for_prompt(5)
    assert (config.max_new_tokens, config.min_new_tokens) == (15, 7)
    config = BASE.with_overrides({"max_length": 20, "max_new_tokens": 3}).for_prompt(5)
    assert config.max_new_tokens == 3
    with pytest.raises(BeamgenError, match="leaves nothing to generate"):
        BASE.with_overrides({"max_length": 5}).for_prompt(5)


def test_a_limit_given_later_replaces_the_other_form() -> None:
    exported = BASE.with_overrides({"max_new_tokens": 50})
    assert exported.with_overrides({"max_length": 20}).for_prompt(5).max_new_tokens == 15
    assert exported.with_overrides({}).for_prompt(5).max_new_tokens == 50
    assert BASE.for_prompt(5).max_new_tokens == 64


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(BeamgenError) as error:
        BASE.with_overrides({"lenght_penalty": 1.0})
    assert "length_penalty" in error.value.cure


def test_inputs_are_what_the_graph_declares() -> None:
    config = BASE.with_overrides({"early_stopping": "never", "eos_token_id": [4, 5]})
    inputs = config.for_prompt(5).inputs()
    every = parameters_with({IDS, TIMES})
    assert list(inputs) == [parameter.name for parameter in every]
    for parameter in every:
        assert inputs[parameter.name].dtype == parameter.dtype
        assert inputs[parameter.name].ndim == len(parameter.axes)
    assert inputs["early_stopping"].tolist() == [2]
    assert inputs["eos_token_id"].tolist() == [4, 5]
    empty = BASE.with_overrides({"eos_token_id": []}).for_prompt(5).inputs()["eos_token_id"]
    assert (empty.shape, empty.dtype) == ((0,), "int64")


def test_json_there_and_back() -> None:
    import json

    config = BASE.with_overrides({"early_stopping": "never", "max_length": 30})
    assert SearchConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_sequences_are_aligned_on_the_right() -> None:
    inputs = (
        BASE.with_overrides({"bad_words_ids": [[5, 6, 7], [8]], "sequence_bias": {(4, 5): -1.5}})
        .for_prompt(5)
        .inputs()
    )
    assert inputs["bad_words_ids"].tolist() == [[5, 6, 7], [-1, -1, 8]]
    assert inputs["sequence_bias_ids"].tolist() == [[4, 5]]
    assert inputs["sequence_bias"].tolist() == [-1.5]
    assert BASE.for_prompt(5).inputs()["bad_words_ids"].shape == (0, 1)


def test_rows_of_their_own_settings_are_stacked() -> None:
    rows = [
        BASE.with_overrides({"do_sample": True, "temperature": t, "seed": 5}).for_prompt(3)
        for t in (0.5, 0.7)
    ]
    stacked = stacked_inputs(rows)
    np.testing.assert_allclose(stacked["temperature"], [0.5, 0.7])
    # one seed would stand for 5 and 6
    assert stacked["seed"].tolist() == [5, 5]
    assert stacked["top_k"].tolist() == [50]
    assert {"temperature", "seed", "repetition_penalty", "max_new_tokens"} <= PER_ROW


def test_rows_share_what_is_not_per_row() -> None:
    rows = [BASE.with_overrides({"num_beams": n}).for_prompt(3) for n in (2, 3)]
    with pytest.raises(BeamgenError, match="num_beams has to be the same"):
        stacked_inputs(rows)


def test_every_setting_survives_json() -> None:
    import json

    for name, value in OTHER.items():
        if name in SUPPORTED - {"stop_strings"}:
            config = _from(**{name: value}, **BEAMS_OF.get(name, {}))
            assert SearchConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
