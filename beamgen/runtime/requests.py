"""The settings of a call become those of each prompt's search, with seeds to draw with."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from beamgen.errors import SettingError
from beamgen.runtime.contrib import one_for_all_rows
from beamgen.settings.config import SearchConfig
from beamgen.settings.contrib import SEED_BITS
from beamgen.settings.table import BY_NAME, PER_ROW

# HF's two limits that count the prompt become the two that do not.
_PER_ROW = PER_ROW | {"max_length", "min_length"}

_RANDOM_BITS = 62  # of a seed that nobody gave


def configs_of_rows(
    defaults: SearchConfig, settings: Mapping[str, Any], rows: int, backend: str
) -> list[SearchConfig]:
    """The settings of each row's search.

    Args:
        defaults: the package's.
        settings: what a call gives instead, under HF's names: one value for all rows, or a
            list of one for each.
        rows: B.
        backend: the package's; a contrib file draws a whole batch from one seed.

    Raises:
        SettingError: a setting is unknown or impossible, or a list has another length.
    """
    _refuse_shared_lists(settings)
    lists = _lists(settings, rows)
    shared = defaults.with_overrides(
        {name: value for name, value in settings.items() if name not in lists}
        | {name: values[0] for name, values in lists.items()}
    )
    configs = []
    for row in range(rows):
        own = {name: values[row] for name, values in lists.items()}
        config = shared.with_overrides(own)
        # a row that is given none has the package's, and not the first row's
        left = {name: getattr(defaults, name) for name, value in own.items() if value is None}
        configs.append(replace(config, **left) if left else config)
    if not shared.do_sample:
        return configs
    if backend == "contrib":
        if lists:
            raise one_for_all_rows()
        seed = secrets.randbits(SEED_BITS) if shared.seed is None else shared.seed
        return [replace(shared, seed=int(seed))] * rows
    if "seed" in lists:
        return [
            config
            if config.seed is not None
            else replace(config, seed=secrets.randbits(_RANDOM_BITS))
            for config in configs
        ]
    first = secrets.randbits(_RANDOM_BITS) if shared.seed is None else int(shared.seed)
    # as the file counts one seed up by row
    return [replace(config, seed=(first + row) % 2**63) for row, config in enumerate(configs)]


def _refuse_shared_lists(settings: Mapping[str, Any]) -> None:
    """Refuse one value for each prompt where all of a batch share one."""
    for name, value in settings.items():
        row = BY_NAME.get(name)
        one = row is not None and row.kind.axes == ("1",) and not row.per_row
        if one and name not in _PER_ROW and isinstance(value, list | tuple | np.ndarray):
            raise SettingError(
                f"{name} has to be the same for all rows of a batch, not {value!r:.60}",
                "give one value, or search those prompts in batches of their own",
            )


def _lists(settings: Mapping[str, Any], rows: int) -> dict[str, list[Any]]:
    """Settings that are given for each row."""
    lists = {
        name: list(value)
        for name, value in settings.items()
        if name in _PER_ROW and isinstance(value, list | tuple | np.ndarray)
    }
    for name, values in lists.items():
        if len(values) != rows:
            raise SettingError(
                f"{name} is a list of {len(values)}, and there are {rows} prompts",
                "give one value for each prompt",
            )
    return lists
