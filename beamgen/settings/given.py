"""The settings as far as they are known before transformers is imported, which takes seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from beamgen.settings.checks import refuse_problems, wrong_values
from beamgen.settings.hf_fields import (
    AROUND_SEARCH,
    REFUSED,
    WITHOUT_EFFECT,
    null_means,
    refuse_unknown,
    refuse_unsupported,
    without_negative_ids,
)
from beamgen.settings.kinds import Ids
from beamgen.settings.parameter import Problem
from beamgen.settings.rules import Rules
from beamgen.settings.setting import REQUIRED
from beamgen.settings.table import BY_NAME, SETTINGS

#: Values that may be HF's own default of a field that is refused.
_MAYBE_OFF = (None, "default", False, 0, 1)

#: A limit, and its other form, which it replaces.
_REPLACES = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}


def known_settings(
    overrides: Mapping[str, Any], stored: Mapping[str, Any] | None, rules: Rules
) -> dict[str, Any]:
    """The settings that ``SearchConfig.from_generation_config`` is going to find, where known.

    Args:
        overrides: a caller's; ``"default"`` is HF's default, which is not known yet.
        stored: what a checkpoint's ``generation_config.json`` holds; None where there is no
            such file, so that the config's own class has the rest.
        rules: of the search.

    Returns:
        Values in their canonical form; all of them in most cases.

    Raises:
        SettingError: a caller's name is unknown or refused; or the settings are impossible,
            whatever those are that are not known.
    """
    chosen = {name: value for name, value in overrides.items() if value is not None}
    reset = {name for name, value in chosen.items() if name in AROUND_SEARCH and _is_default(value)}
    refuse_unknown(chosen, BY_NAME.keys() | REFUSED.keys() | WITHOUT_EFFECT | reset)
    refused = {n: v for n, v in chosen.items() if n not in BY_NAME and v not in _MAYBE_OFF}
    refuse_unsupported(refused, BY_NAME, refused)
    values = {**({} if stored is None else _of_checkpoint(stored, chosen, rules)), **chosen}
    known = {
        name: BY_NAME[name].kind.canonical(value)
        for name, value in values.items()
        if name in BY_NAME and not _is_default(value)
    }
    if known.get("eos_token_id"):
        known.setdefault("pad_token_id", known["eos_token_id"][0])
    drawn = known.get("do_sample") is True  # or not known yet
    refuse_problems([*wrong_values(known, drawn=drawn), *_contradictions(known)])
    return known


def ids_of(known: Mapping[str, Any]) -> dict[str, Ids]:
    """Every token id among some settings, by the setting that names it."""
    return {name: BY_NAME[name].kind.token_ids(value) for name, value in known.items()}


def _of_checkpoint(
    stored: Mapping[str, Any], chosen: Collection[str], rules: Rules
) -> dict[str, Any]:
    """The values in a checkpoint's file, and the defaults of what it leaves open."""
    defaults = {each.name: each.default for each in SETTINGS if each.default is not REQUIRED}
    counted, nulls = without_negative_ids(stored), null_means(rules)
    named = {name: nulls.get(name) if v is None else v for name, v in counted.items()}
    named = {name: value for name, value in named.items() if value is not None}
    if named.get("do_sample") and "do_sample" not in chosen:
        named.setdefault("num_beams", 1)
    for name in (_REPLACES[name] for name in chosen if name in _REPLACES):
        named.pop(name, None)
    return {**defaults, **named}


def _contradictions(known: Mapping[str, Any]) -> Iterator[Problem]:
    """Contradictions that no setting which is not known could undo."""
    for setting in SETTINGS:
        if setting.conflicts is not None:
            with contextlib.suppress(KeyError):
                yield from setting.conflicts(known)


def _is_default(value: Any) -> bool:
    return isinstance(value, str) and value == "default"
