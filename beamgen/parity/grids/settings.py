"""Every setting together with every other: cases that cover all pairs of values."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from beamgen.package.folder import Package
from beamgen.parity.grids.shapes import Likely, ordinary_ids, room
from beamgen.parity.report import ParityCase, Prompts
from beamgen.settings.config import SearchConfig
from beamgen.settings.processors.constraint import WAYS_OUT
from beamgen.settings.setting import IDS, SampleIds
from beamgen.settings.table import SAMPLING, SETTINGS
from beamgen.tokenizer.load import load_or_reason
from beamgen.tokenizer.vocabulary import token_texts

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
_ON = (False, True)
#: The grid's own: the length of a case, and a seed for each.
_SET_HERE = ("max_new_tokens", "seed")
#: Settings whose examples are values.
_VALUES = {s.name: s.examples for s in SETTINGS if s.examples and s.name not in _SET_HERE}
#: Settings whose values are made of the model's ids, off or on.
_LISTS = {s.name: s.sample for s in SETTINGS if s.sample is not None}
_BANS = frozenset(s.name for s in SETTINGS if s.bans)


def axes(settings: Collection[str]) -> dict[str, Sequence[Any]]:
    """Every axis with its values, of these settings."""
    values = {name: several for name, several in _VALUES.items() if name in settings}
    lists = [name for name in _LISTS if name in settings]
    return {
        "mode": tuple(_MODES),
        "shape": tuple(_SHAPES),
        **values,
        **dict.fromkeys([*lists, "second_eos"], _ON),
    }


#: Of a decoder.
AXES = axes([s.name for s in SETTINGS if s.asks in (None, IDS)])


def settings_grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """140 cases of processors, warpers and modes; sampled ones with the file's random numbers."""
    rng = np.random.default_rng([seed, 2])
    prompts = {name: _prompts(package, *shape, rng) for name, shape in _SHAPES.items()}
    ends = {name: likely(drawn) for name, drawn in prompts.items()}
    inputs = {row["name"] for row in package.manifest.inputs}
    taken = [s.name for s in SETTINGS if inputs.issuperset(p.name for p in s.parameters)]
    return [
        _case(package, row, prompts[row["shape"]], ends[row["shape"]], number)
        for number, row in enumerate(covering_rows(axes(taken), CASES, seed))
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
    if row.get("return_timestamps"):  # which come first, and go with one EOS before them
        row = {**row, "constraint": False, "forced_bos_token_id": False}
        eos = search.eos_token_id[:1]
    values = dict(_MODES[row["mode"]])
    values |= {
        name: row[name]
        for name in _VALUES
        if name in row and (name not in SAMPLING or values.get("do_sample"))
    }
    if values.get("do_sample"):
        values["seed"] = number
    several = max(values["num_beams"], values["num_return_sequences"]) > 1
    if several and not package.manifest.rules.penalty_reaches_beams:
        values.pop("encoder_repetition_penalty", None)
    if row["constraint"] or row["forced_eos_token_id"] or _bans_ngrams(row):
        # HF adds infinities of both signs where an EOS is banned while its score decays
        values["exponential_decay_length_penalty"] = None
    ids = _sample_ids(package, prompts, eos, number)
    values |= {name: sample(ids) for name, sample in _LISTS.items() if row.get(name)}
    if row["constraint"]:
        values = {name: value for name, value in values.items() if name not in WAYS_OUT}
    if row["constraint"] and (values.get("do_sample") or row["renormalize_logits"]):
        # nothing may be left to choose from, and HF goes on with what is no number
        values = {name: value for name, value in values.items() if name not in _BANS}
    longest = min(_NEW_TOKENS, room(package) - prompt_len)
    plain = SearchConfig(
        eos,
        search.pad_token_id,
        max_new_tokens=longest,
        no_timestamps_token_id=search.no_timestamps_token_id,
        max_initial_timestamp_index=search.max_initial_timestamp_index,
    )
    config = plain.with_overrides({**values, "output_scores": True})
    return ParityCase(f"{row['mode']}, {row['shape']}", prompts, prompt_len, config)


def _bans_ngrams(row: Mapping[str, Any]) -> bool:
    return bool(row["no_repeat_ngram_size"] or row.get("encoder_no_repeat_ngram_size"))


def _sample_ids(package: Package, prompts: Prompts, eos: tuple[int, ...], number: int) -> SampleIds:
    """Ids that make a difference on these prompts."""
    rng = np.random.default_rng([number, 4])
    ordinary = np.setdiff1d(ordinary_ids(package), eos)
    a, b, c = rng.choice(ordinary, size=3, replace=False).tolist()
    size, texts = package.manifest.vocab_size, _texts(package.folder)
    return SampleIds(ordinary, eos, prompts[0][-1], (a, b, c), rng, size, texts)


@lru_cache(maxsize=4)
def _texts(folder: Path) -> Sequence[str]:
    """What each token adds to a text; nothing where no tokenizer says so."""
    tokenizer, _ = load_or_reason(folder)
    return () if tokenizer is None else token_texts(tokenizer)
