"""The table of settings against what is derived from it, and what is typed beside it."""

from __future__ import annotations

import dataclasses
import typing

import pytest
from support.setting_values import OF_SPEECH, OTHER

from beamgen import BeamgenError, Constraint, SearchConfig
from beamgen.formats.genai import config as genai
from beamgen.settings import contrib
from beamgen.settings.hf_fields import hf_defaults
from beamgen.settings.kinds import Count, Flag, Number, TokenId, TokenIds
from beamgen.settings.setting import REQUIRED, Setting
from beamgen.settings.stop_strings import StopStrings
from beamgen.settings.table import PARAMETERS, PROCESSORS, SETTINGS

FIELDS = {field.name: field for field in dataclasses.fields(SearchConfig)}
TYPES = typing.get_type_hints(SearchConfig)
BASE = SearchConfig(eos_token_id=(2,), pad_token_id=1)


def test_every_field_has_a_row_and_every_row_a_field() -> None:
    names = [setting.name for setting in SETTINGS]
    assert len(names) == len(set(names))
    assert set(names) == set(FIELDS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_field_and_its_row_agree(setting: Setting) -> None:
    default = FIELDS[setting.name].default
    assert default == (dataclasses.MISSING if setting.default is REQUIRED else setting.default)
    expected = {Flag: bool, Count: int, Number: float, TokenId: int, TokenIds: tuple[int, ...]}
    wanted = expected.get(type(setting.kind))
    optional = {wanted, type(None)} == set(typing.get_args(TYPES[setting.name]))
    assert wanted is None or TYPES[setting.name] == wanted or optional
    assert setting.meaning
    assert not setting.meaning[0].isupper()


def test_the_default_of_a_setting_is_hfs_but_where_beamgen_says_otherwise() -> None:
    """Greedy search is HF's default, and beam search ours."""
    defaults = hf_defaults()
    differ = {
        setting.name
        for setting in SETTINGS
        if setting.in_hf
        and setting.default is not REQUIRED
        and (defaults[setting.name] or None) != (setting.default or None)
        and not (setting.is_off(setting.default) and defaults[setting.name] is None)
    }
    assert differ == {"num_beams", "max_length"}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_inputs_of_a_setting_are_what_its_parameters_say(setting: Setting) -> None:
    default = (2,) if setting.name == "eos_token_id" else 1
    value = default if setting.default is REQUIRED else setting.default
    value = setting.examples[-1] if setting.examples else value
    arrays = setting.kind.arrays(setting.name, value)
    for parameter in setting.parameters:
        assert arrays[parameter.name].dtype == parameter.dtype
        assert arrays[parameter.name].ndim == len(parameter.axes)
    assert len({parameter.name for parameter in PARAMETERS}) == len(PARAMETERS)


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda processor: processor.name)
def test_a_processor_is_called_after_its_setting_and_says_its_source(processor) -> None:
    function = processor.compiled[0]
    assert function.name in {processor.name, f"within_{processor.name}"}
    assert "Source: " in function.function.__doc__


@pytest.mark.parametrize("name", ["forced_bos_token_id", "forced_eos_token_id", "seed"])
def test_the_token_id_0_is_not_off(name: str) -> None:
    setting = next(setting for setting in SETTINGS if setting.name == name)
    zero = setting.kind.canonical(0)
    assert not setting.is_off(zero)
    assert setting.is_off(setting.default)


def test_the_token_id_0_is_no_setting_that_contrib_ignores() -> None:
    with pytest.raises(BeamgenError, match="forced_bos_token_id: there is no input for it"):
        contrib.check_honoured(BASE.with_overrides({"forced_bos_token_id": 0}))


CHOOSE = {
    contrib.BEAM_SEARCH: BASE,
    contrib.GREEDY_SEARCH: BASE.with_overrides({"num_beams": 1}),
    contrib.SAMPLING: BASE.with_overrides({"num_beams": 1, "do_sample": True, "top_k": 0}),
}
NOT_HONOURED = [
    (operator, setting.name)
    for operator, config in CHOOSE.items()
    for setting in SETTINGS
    if setting.name not in contrib.HONOURED[operator] and setting.is_heeded(vars(config))
]


@pytest.mark.parametrize(("operator", "name"), NOT_HONOURED)
def test_what_nobody_said_an_operator_honours_is_refused_there(operator: str, name: str) -> None:
    """A setting that is added to the table is among these until it enters the allow-list."""
    setting = next(setting for setting in SETTINGS if setting.name == name)
    own = [example for example in setting.examples if not setting.is_off(example)]
    automata = {
        "constraint": Constraint.choices([[5, 6]]),
        "stop_strings": StopStrings.of("a", ["a"], 1),
    }
    on = {**OTHER, **OF_SPEECH, **automata}.get(name, own and own[0])
    beside = OF_SPEECH if name == "return_timestamps" else {}
    config = CHOOSE[operator].with_overrides({name: on, **beside})
    with pytest.raises(BeamgenError, match=f"{name}: there is no input for it"):
        contrib.check_honoured(config)


def test_lists_of_what_is_honoured_name_settings() -> None:
    names = set(FIELDS)
    assert all(honoured <= names for honoured in contrib.HONOURED.values())
    assert names >= genai._HONOURED
