"""Every setting together with every other: cases that cover all pairs of values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from beamgen.package.folder import Package
from beamgen.parity.grids.shapes import Likely, ordinary_ids, room
from beamgen.parity.report import ParityCase, Prompts
from beamgen.settings.catalogue import Catalogue
from beamgen.settings.config import SearchConfig

#: Enough for any two values of any two axes to meet in one of them.
CASES = 140

_NEW_TOKENS = 10
_CANDIDATES = 40

_MODES: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1, "num_return_sequences": 1},
    "beams": {"num_beams": 4, "num_return_sequences": 4},
    "sampling": {"num_beams": 1, "num_return_sequences": 3, "do_sample": True},
    "beam sampling": {"num_beams": 4, "num_return_sequences": 4, "do_sample": True},
}
_SHAPES = {
    "batch 1": (1, 6, False),
    "batch 1 padded": (1, 6, True),
    "batch 3": (3, 6, False),
    "batch 3 padded": (3, 6, True),
    "one token": (3, 1, False),
}
_NUMBERS: dict[str, Sequence[Any]] = {
    "length_penalty": (1.0, 0.0, 2.0, -0.5),
    "early_stopping": (False, True, "never"),
    "repetition_penalty": (1.0, 1.3, 0.8),
    "no_repeat_ngram_size": (0, 1, 2, 3),
    "min_new_tokens": (0, 5),
    "remove_invalid_values": (False, True),
    "exponential_decay_length_penalty": (None, (5, 1.2)),
    "renormalize_logits": (False, True),
}
_WARPERS: dict[str, Sequence[Any]] = {
    "temperature": (1.0, 0.7, 1.5),
    "top_k": (50, 0, 5),
    "top_p": (1.0, 0.9, 0.3),
    "min_p": (0.0, 0.05),
    "typical_p": (1.0, 0.8),
    "epsilon_cutoff": (0.0, 0.01),
    "eta_cutoff": (0.0, 0.01),
}
_ON = (False, True)
#: Settings whose values are made of the model's likely tokens, off or on.
_LISTS = (
    "sequence_bias",
    "bad_words_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "catalogue",
    "second_eos",
)

_WAYS_OUT = frozenset({"forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values"})
_BANS = frozenset(
    {
        "no_repeat_ngram_size",
        "min_new_tokens",
        "bad_words_ids",
        "suppress_tokens",
        "begin_suppress_tokens",
    }
)

#: Every axis with its values.
AXES: dict[str, Sequence[Any]] = {
    "mode": tuple(_MODES),
    "shape": tuple(_SHAPES),
    **_NUMBERS,
    **_WARPERS,
    **dict.fromkeys(_LISTS, _ON),
}


def settings_grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """140 cases of processors, warpers and modes; sampled ones with the file's random numbers."""
    rng = np.random.default_rng([seed, 2])
    prompts = {name: _prompts(package, *shape, rng) for name, shape in _SHAPES.items()}
    ends = {name: likely(drawn) for name, drawn in prompts.items()}
    return [
        _case(package, row, prompts[row["shape"]], ends[row["shape"]], number)
        for number, row in enumerate(covering_rows(AXES, CASES, seed))
    ]


def covering_rows(axes: Mapping[str, Sequence[Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of one value per axis in which values of any two axes meet as often as can be.

    Each row is the one of some random ones that adds the most pairs that did not meet yet.
    """
    rng = np.random.default_rng([seed, 3])
    met: set[tuple[str, int, str, int]] = set()
    rows = []
    for _ in range(count):
        drawn = [
            {name: int(rng.integers(len(values))) for name, values in axes.items()}
            for _ in range(_CANDIDATES)
        ]
        best = max(drawn, key=lambda row: len(_pairs(row) - met))
        met |= _pairs(best)
        rows.append({name: axes[name][place] for name, place in best.items()})
    return rows


def _pairs(row: Mapping[str, int]) -> set[tuple[str, int, str, int]]:
    return {(a, i, b, j) for (a, i), (b, j) in itertools.combinations(row.items(), 2)}


def _prompts(
    package: Package, batch: int, prompt_len: int, padded: bool, rng: np.random.Generator
) -> Prompts:
    lengths = [int(rng.integers(2, prompt_len)) if padded else prompt_len for _ in range(batch)]
    ordinary = ordinary_ids(package)
    return tuple(tuple(rng.choice(ordinary, size=n).tolist()) for n in lengths)


def _case(
    package: Package, row: Mapping[str, Any], prompts: Prompts, ends: list[int], number: int
) -> ParityCase:
    search = package.manifest.search
    prompt_len = _SHAPES[row["shape"]][1]
    one, two = ends
    eos = (*search.eos_token_id[:1], two) if row["second_eos"] else (one,)
    values: dict[str, Any] = {name: row[name] for name in _NUMBERS}
    values |= _MODES[row["mode"]]
    if values.get("do_sample"):
        values |= {name: row[name] for name in _WARPERS} | {"seed": number}
    if row["catalogue"] or row["forced_eos_token_id"] or row["no_repeat_ngram_size"]:
        # HF adds infinities of both signs where an EOS is banned while its score decays
        values["exponential_decay_length_penalty"] = None
    made = _made_of(package, prompts, eos, number)
    values |= {name: made[name] for name in _LISTS if name in made and row[name]}
    if row["catalogue"]:
        values = {name: value for name, value in values.items() if name not in _WAYS_OUT}
    if row["catalogue"] and (values.get("do_sample") or row["renormalize_logits"]):
        # nothing may be left to choose from, and HF goes on with what is no number
        values = {name: value for name, value in values.items() if name not in _BANS}
    longest = min(_NEW_TOKENS, room(package) - prompt_len)
    plain = SearchConfig(eos, search.pad_token_id, max_new_tokens=longest)
    config = plain.with_overrides({**values, "output_scores": True})
    return ParityCase(f"{row['mode']}, {row['shape']}", prompts, prompt_len, config)


def _made_of(
    package: Package, prompts: Prompts, eos: tuple[int, ...], number: int
) -> dict[str, Any]:
    """Lists that make a difference on these prompts."""
    rng = np.random.default_rng([number, 4])
    ordinary = np.setdiff1d(ordinary_ids(package), eos)
    a, b, c = rng.choice(ordinary, size=3, replace=False).tolist()
    last = prompts[0][-1]
    return {
        "sequence_bias": [[[a], 2.5], [[last, b], 6.0], [[a, b, c], -4.0], [[b], -1.0]],
        "bad_words_ids": [[c], [last, a], [a, b], [eos[0]]],
        "forced_bos_token_id": a,
        "forced_eos_token_id": eos[:1],
        "suppress_tokens": rng.choice(np.setdiff1d(ordinary, [a]), size=20).tolist(),
        "begin_suppress_tokens": rng.choice(ordinary, size=30).tolist(),
        "catalogue": Catalogue.of(
            rng.choice(ordinary[:30], size=int(size)).tolist()
            for size in rng.integers(1, 6, size=200)
        ),
    }
