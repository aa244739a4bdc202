"""Cases that ONNX Runtime's operators can honour, for contrib packages."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from beamgen.package.folder import Package
from beamgen.parity.grids.settings import covering_rows
from beamgen.parity.grids.shapes import (
    SHAPES,
    Likely,
    long_prompts,
    make_case,
    ordinary_ids,
    random_prompts,
)
from beamgen.parity.report import ParityCase
from beamgen.settings.config import SearchConfig
from beamgen.settings.contrib import BEAM_SEARCH, SAMPLING, operator_of
from beamgen.settings.table import BY_NAME

#: Enough for any two values of any two axes to meet in one of them.
CASES = 60

_SMALL = 80  # ids of a vocabulary of which each may not come twice
_OF_PROMPTS = ("shape", "draw", "long", "second_eos")
_DRAWS = 3  # sets of prompts for each shape
_ON = (False, True)


def _examples(*names: str) -> dict[str, Sequence[Any]]:
    return {name: BY_NAME[name].examples for name in names}


_OF_ALL: dict[str, Sequence[Any]] = {
    "shape": tuple(SHAPES),
    "draw": tuple(range(_DRAWS)),
    "second_eos": _ON,
    **_examples("repetition_penalty", "no_repeat_ngram_size", "min_new_tokens"),
    "suppress_tokens": _ON,
    "begin_suppress_tokens": _ON,
    "bad_words_ids": _ON,
}
_OF_OPERATOR: dict[str, dict[str, Sequence[Any]]] = {
    BEAM_SEARCH: {
        "num_beams": (2, 4, 5),
        **_examples("length_penalty"),
        "early_stopping": _ON,
    },
    SAMPLING: _examples("temperature", "top_p"),
}
_WITH_OWN = {"length_penalty", "repetition_penalty", "temperature", "top_p"}
_FULL: dict[str, dict[str, Sequence[Any]]] = {
    BEAM_SEARCH: {"length_penalty": (0.0, 1.0, 2.0, -0.5), "early_stopping": _ON},
    SAMPLING: {"temperature": (1.0, 1.5), "top_p": (1.0, 0.8), "repetition_penalty": (1.0, 1.3)},
}


def quick_contrib_grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """Twelve cases, four of them long, in four sessions, for a large model takes long to load."""
    plain = {"draw": 0, "second_eos": False, "no_repeat_ngram_size": 0}
    rows = [
        {**row, **plain, **attributes, "shape": shape}
        for shape in ("batch 1", "batch 4 padded")
        for attributes in ({}, {"second_eos": True, "no_repeat_ngram_size": 2})
        for row in _rows(package, 3, seed)
    ]
    search = package.manifest.search
    for number, row in enumerate(rows):
        row["long"] = number % 3 == 2
        if "early_stopping" in row:
            row["early_stopping"] = row["second_eos"]
        if "temperature" in row:
            row |= {"temperature": search.temperature, "top_p": search.top_p}
    return _cases(package, likely, seed, rows)


def full_contrib_grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """What the operator's own rule depends on, each with each: 96 cases."""
    operator = operator_of(package.manifest.search)
    other = {"repetition_penalty": (1.0, 1.3), "no_repeat_ngram_size": (0, 1, 2, 3)}
    axes = {"shape": tuple(SHAPES), "draw": range(_DRAWS), **_FULL.get(operator, other)}
    rows = [dict(zip(axes, row, strict=True)) for row in itertools.product(*axes.values())]
    return _cases(package, likely, seed, rows)


def settings_contrib_grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """Every two values of all settings that the operator has meet in some case."""
    return _cases(package, likely, seed, _rows(package, CASES, seed))


def contrib_axes(search: SearchConfig) -> dict[str, Sequence[Any]]:
    """Every axis of the settings grid with its values, the package's own among them."""
    axes = {**_OF_ALL, **_OF_OPERATOR.get(operator_of(search), {})}
    for name in _WITH_OWN & set(axes):
        axes[name] = tuple(dict.fromkeys([*axes[name], getattr(search, name)]))
    return axes


def _rows(package: Package, count: int, seed: int) -> list[dict[str, Any]]:
    return covering_rows(contrib_axes(package.manifest.search), count, seed)


def _cases(
    package: Package, likely: Likely, seed: int, rows: Sequence[dict[str, Any]]
) -> list[ParityCase]:
    places = sorted({(row["shape"], row["draw"]) for row in rows})
    prompts = {place: random_prompts(package, place[0], seed + place[1]) for place in places}
    ends = {place: likely(drawn) for place, (drawn, _) in prompts.items()}
    cases = []
    for number, row in enumerate(rows):
        shape, draw = row["shape"], row["draw"]
        settings = _settings(package, row, ends[shape, draw], number)
        if row.get("long"):
            name, drawn = f"{shape}, long", long_prompts(package, shape, seed)
        else:
            name, drawn = shape, prompts[shape, draw]
        cases.append(make_case(package, name, *drawn, settings))
    # alike attributes side by side: each other set of them takes a session of its own
    return sorted(cases, key=lambda case: repr((case.config.eos_token_id, case.config)))


def _settings(
    package: Package, row: dict[str, Any], ends: list[int], number: int
) -> dict[str, Any]:
    one, two = ends
    eos = two if row.get("second_eos", number % 2) else one
    rng = np.random.default_rng([number, 5])
    ordinary = np.setdiff1d(ordinary_ids(package), [eos])
    some = [min(most, len(ordinary) // part) for most, part in ((20, 6), (30, 3), (10, 8))]
    drawn = [rng.choice(ordinary, size=count).tolist() for count in some]
    lists = {
        "suppress_tokens": drawn[0],
        "begin_suppress_tokens": drawn[1],
        "bad_words_ids": [[token] for token in drawn[2]] + [[eos]],
    }
    settings = {name: value for name, value in row.items() if name not in {*_OF_PROMPTS, *lists}}
    settings |= {name: value for name, value in lists.items() if row.get(name)}
    settings["eos_token_id"] = eos
    if len(ordinary) < _SMALL:  # or else no token might be left
        settings["no_repeat_ngram_size"] = settings.get("no_repeat_ngram_size", 0) and 2
    if "num_beams" in settings:
        settings["num_return_sequences"] = settings["num_beams"]
    if operator_of(package.manifest.search) == SAMPLING:
        settings["seed"] = number
    return settings
