"""``rope_parameters``, in which transformers 5 keeps what rotary positions need, for 4.57.

4.57 has it as ``rope_theta``, ``rope_scaling`` and ``partial_rotary_factor`` and reads nothing
else, so that a config which 5 saved would run with the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from beamgen.errors import CheckpointError

ROPE_PARAMETERS = "rope_parameters"
#: Other names that some classes of 4.57 have for a key.
_SPELLINGS = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
_BOUNDARY = "original_max_position_embeddings"
_SCALE = "short_mscale"
_USE_5 = "install the transformers that saved it: pip install 'transformers>=5'"


def in_old_keys(
    stored: Mapping[str, Any], source: str, parameters: Collection[str]
) -> dict[str, Any]:
    """A config as 4.57 reads it.

    Args:
        stored: ``config.json`` as it stands, with ``rope_parameters`` or without.
        source: the checkpoint, for messages.
        parameters: what the config's class takes by name.

    Raises:
        CheckpointError: layers differ in a way that 4.57 has no keys for; or the old keys stand
            beside the new one and say something else.

    Source: ``RotaryEmbeddingConfigMixin.convert_rope_params_to_dict`` of transformers 5.24,
    backwards.
    """
    config = dict(stored)
    given = config.pop(ROPE_PARAMETERS, None)
    if not given and _of_5(config.get("rope_scaling")):
        given = config.pop("rope_scaling")
    if not given:
        return config
    if not isinstance(given, dict):
        raise CheckpointError(f"{source}: rope_parameters is {given!r}, not an object", _USE_5)
    found = {
        key if key in parameters else _spelled(key, parameters): value
        for key, value in _of_all_layers(given, source, parameters, stored).items()
    }
    for key, value in found.items():
        beside = config.get(key)
        if beside is not None and _one_name(beside) != _one_name(value):
            raise CheckpointError(
                f"{source}: rope_parameters says {key} {value!r}, but {key} is {beside!r}",
                "delete the wrong one of the two from config.json",
            )
    return {**config, **found}


def check_null(stored: Mapping[str, Any], found: Mapping[str, Any] | None, source: str) -> None:
    """Refuse a null ``rope_scaling`` for which the installed class has another default.

    Args:
        stored: ``config.json`` as it stands.
        found: ``rope_parameters`` of the config that transformers made of it, maybe one for
            each kind of layer.
        source: the checkpoint, for messages.

    Raises:
        CheckpointError: the file says that nothing is scaled, and transformers would.
    """
    if stored.get("rope_scaling", found) is not None or stored.get(ROPE_PARAMETERS):
        return
    every = [found or {}, *(value for value in (found or {}).values() if isinstance(value, dict))]
    kinds = [kind for each in every if (kind := _kind(each)) != "default"]
    if kinds:
        theta = stored.get("rope_theta", (found or {}).get("rope_theta"))
        raise CheckpointError(
            f"{source}: rope_scaling is null, for which the transformers that is installed takes "
            f"{kinds[0]}",
            'replace it in config.json by "rope_parameters": {"rope_type": "default", '
            f'"rope_theta": {theta}}}',
        )


def _of_5(scaling: Any) -> bool:
    """Whether LongRoPE's boundary stands where 5 alone looks for it."""
    return isinstance(scaling, dict) and _BOUNDARY in scaling and _kind(scaling) == "longrope"


def _kind(scaling: Mapping[str, Any]) -> Any:
    return scaling.get("rope_type") or scaling.get("type") or "default"


def _spelled(key: str, parameters: Collection[str]) -> str:
    other = _SPELLINGS.get(key)
    return other if other is not None and other in parameters else key


def _one_name(scaling: Any) -> Any:
    """Scaling, whose kind may be called ``type`` or ``rope_type``, under the first name alone."""
    if not isinstance(scaling, dict):
        return scaling
    return {"type" if key == "rope_type" else key: value for key, value in scaling.items()}


def _of_all_layers(
    given: Mapping[str, Any],
    source: str,
    parameters: Collection[str],
    stored: Mapping[str, Any],
) -> dict[str, Any]:
    """The old keys of one set of parameters, or of one for each kind of layer."""
    if not all(value is None or isinstance(value, dict) for value in given.values()):
        return _flat(given, stored)
    kinds = {kind: _flat(values, stored) for kind, values in given.items() if values}
    every = list(kinds.values())
    if len(every) == len(given) and all(values == every[0] for values in every):
        return every[0]
    # 4.57 knows one such pair: windows with a theta of their own, and without scaling
    theta = "rope_local_base_freq"
    if set(kinds) == set(given) == {"full_attention", "sliding_attention"} and theta in parameters:
        local = kinds["sliding_attention"]
        if local == {"rope_theta": local.get("rope_theta"), "rope_scaling": None}:
            return {**kinds["full_attention"], theta: local["rope_theta"]}
    raise CheckpointError(
        f"{source}: rope_parameters differ by kind of layer ({', '.join(given)}), for which the "
        "transformers that is installed has no keys",
        _USE_5,
    )


def _flat(given: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The old keys of one set of parameters."""
    values = {key: value for key, value in given.items() if value is not None}
    kind = _kind(values)
    values = {key: value for key, value in values.items() if key not in ("type", "rope_type")}
    names = ("rope_theta", "partial_rotary_factor")
    found: dict[str, Any] = {name: values.pop(name) for name in names if name in values}
    if kind == "longrope" and _BOUNDARY in values:
        # 4.57 wants it beside rope_scaling, and then takes the factor from it alone
        found[_BOUNDARY] = boundary = values[_BOUNDARY]
        if _SCALE not in values:  # a class with scales of its own looks for both in it, too
            del values[_BOUNDARY]
        factor = values.pop("factor", None)
        longest = stored.get("max_position_embeddings")
        if factor is not None and factor * boundary != longest:
            values.setdefault("attention_factor", _attention_factor(factor, boundary))
    scaled = kind != "default" or values
    # the older of its two names, which every class of 4.57 reads
    found["rope_scaling"] = {"type": kind, **values} if scaled else None
    return found


def _attention_factor(factor: float, boundary: int) -> float:
    """What LongRoPE multiplies by. Source: ``_compute_longrope_parameters`` of transformers."""
    return 1.0 if factor <= 1.0 else math.sqrt(1 + math.log(factor) / math.log(boundary))
