"""Checks of an export before its decoder is built: backend, names, ids and lengths."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from beamgen.checkpoint.files import CONFIG, GENERATION_CONFIG, CheckpointFiles
from beamgen.errors import AdapterError, SettingError, close_matches
from beamgen.package.manifest import BACKENDS
from beamgen.registry import find_adapter
from beamgen.settings import contrib
from beamgen.settings.checks import check_penalty
from beamgen.settings.config import SearchConfig
from beamgen.settings.given import ids_of, known_settings
from beamgen.settings.kinds import Ids
from beamgen.settings.parameter import Parameter, Required
from beamgen.settings.rules import Rules
from beamgen.settings.setting import IDS
from beamgen.settings.table import BY_NAME, SETTINGS, parameters_with

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def check_alone(settings: Mapping[str, Any], rules: Rules) -> None:
    """Refuse settings that are impossible in any checkpoint.

    Raises:
        SettingError: they are.
    """
    if known_settings(settings, None, rules).get("constraint") is not None:
        raise SettingError(
            "a constraint is not built into a file",
            "give it when generating: --regex, --json-schema FILE, --catalogue FILE",
        )


def check_with_files(
    files: CheckpointFiles,
    settings: Mapping[str, Any],
    backend: str,
    required: Collection[str],
    lora_slots: Sequence[str] | None,
    rules: Rules,
) -> None:
    """Refuse what a checkpoint's JSON shows, before transformers is imported, which takes seconds.

    Args:
        files: the checkpoint's.
        settings: a caller's.
        backend: one of ``BACKENDS``.
        required: see ``required_parameters``.
        lora_slots: see ``required_parameters``.
        rules: of the search.

    Raises:
        SettingError: the settings are impossible in this checkpoint, or for this backend.
    """
    known = known_settings(settings, files.stored(GENERATION_CONFIG), rules)
    if known.keys() == BY_NAME.keys():
        search = SearchConfig(**known)
        check_honoured(backend, search)
        positions = _stored_positions(files)
        if positions is not None:
            check_lengths(search, positions)
        required_parameters(required, parameters_of(backend, search, vocab_size=1), lora_slots)


def _stored_positions(files: CheckpointFiles) -> int | None:
    """The positions of the model, where ``config.json`` itself says how many."""
    config = dict(files.stored(CONFIG) or {})
    if "n_positions" in config:  # as old classes call it, which know the newer name, too
        config.setdefault("max_position_embeddings", config["n_positions"])
    with contextlib.suppress(AdapterError, AttributeError, TypeError):
        adapter = find_adapter(files.model_type or "")
        limits = adapter.position_limits(cast("PretrainedConfig", SimpleNamespace(**config)))
        return limits.max_positions if isinstance(limits.max_positions, int) else None
    return None


def check_ids_with_files(files: CheckpointFiles, settings: Mapping[str, Any], rules: Rules) -> None:
    """Hold token ids within the vocabulary that a checkpoint's ``config.json`` shows.

    Raises:
        SettingError: one is outside.
    """
    config = files.stored(CONFIG) or {}
    vocab_size = config.get("vocab_size")
    if isinstance(vocab_size, int) and "text_config" not in config:
        known = known_settings(settings, files.stored(GENERATION_CONFIG), rules)
        check_ids(ids_of(known), vocab_size)


def check_ids(named: Mapping[str, Ids], vocab_size: int) -> None:
    """Hold the token ids among the settings within the vocabulary.

    Args:
        named: ids by the setting that names them.
        vocab_size: V.

    Raises:
        SettingError: one is outside.
    """
    for name, ids in named.items():
        outside = [token for token in ids if token >= vocab_size]
        if outside:
            raise SettingError(
                f"{name} {outside[0]} is outside the vocabulary of {vocab_size}",
                f"set {name} to ids of the checkpoint's tokenizer",
            )


def check_lengths(search: SearchConfig, max_positions: int) -> None:
    """Refuse defaults with which no prompt could be searched, be it one token long.

    Raises:
        SettingError: they leave the positions that the model has.
    """
    name, room = "max_new_tokens", max_positions - 1
    if search.max_new_tokens is None:  # only then does max_length count
        name, room = "max_length", max_positions
    value = getattr(search, name)
    if value is not None and value > room:
        raise SettingError(
            f"{name} {value} is more than the model's {max_positions} positions hold",
            f"set --{name.replace('_', '-')} {room} or less",
        )


def check_backend_name(backend: str) -> None:
    """Refuse a backend that there is not.

    Raises:
        SettingError: with the names of those that there are.
    """
    if backend not in BACKENDS:
        raise SettingError(
            f"there is no backend called '{backend}'",
            close_matches(str(backend), BACKENDS) or f"there are {' and '.join(BACKENDS)}",
        )


def check_honoured(backend: str, search: SearchConfig) -> None:
    """Refuse a search that a backend cannot do.

    Raises:
        SettingError: ONNX Runtime's operators cannot; the other backend does all of them.
    """
    if backend == "contrib":
        contrib.check_honoured(search)
        longest = 1 + search.for_prompt(1).max_new_tokens
        check_penalty(search.num_beams, search.length_penalty, longest)


def check_offered(search: SearchConfig, has: Collection[str]) -> None:
    """Refuse defaults that a file has no input for.

    Args:
        search: the defaults.
        has: what some settings ask for, as far as it is there.

    Raises:
        SettingError: one is on.
    """
    for setting in SETTINGS:
        lacks = setting.asks is not None and setting.asks not in has
        if lacks and not setting.is_off(getattr(search, setting.name)):
            raise SettingError(
                f"a file cannot honour {setting.name} here: {setting.asks}",
                f"leave it out; if the checkpoint sets it: --set {setting.name}=default",
            )


def parameters_of(
    backend: str, search: SearchConfig, vocab_size: int, has: Collection[str] = (IDS,)
) -> tuple[Parameter, ...]:
    """The inputs of a file besides the prompts; ``has`` is what some settings ask for."""
    if backend == "loop":
        return parameters_with(has)
    return contrib.parameters(contrib.operator_of(search), vocab_size)


def required_parameters(
    names: Collection[str], parameters: Sequence[Parameter], lora_slots: Sequence[str] | None
) -> Required:
    """The inputs that get no default.

    Args:
        names: as a user gives them; ``all`` is every parameter, ``lora`` stands for the slots.
        parameters: what the file takes.
        lora_slots: the layers with slots, or None where there are none.

    Raises:
        SettingError: there is no such parameter.
    """
    known = [parameter.name for parameter in parameters]
    if "lora" in names and lora_slots is None:
        raise SettingError("there are no slots whose inputs could be required", "add --lora-slots")
    slots = "lora" in names
    names = [name for name in names if name != "lora"]
    if "all" in names:
        return Required(frozenset(known), slots)
    for name in names:
        if name not in known:
            raise SettingError(
                f"the file has no parameter called '{name}'",
                close_matches(name, known) or f"there are {', '.join(known)}, and all",
            )
    return Required(frozenset(names), slots)
