"""Cases to compare: prompts of random ids under many settings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from beamgen.package.folder import Package
from beamgen.parity.report import ParityCase, Prompts
from beamgen.search.pieces import PROMPT_PIECE
from beamgen.settings.prompts import Ids

#: Ids that HF's search generates for these prompts, the most frequent first. As
#: EOS ids they make sequences end, which a trained model's own EOS hardly ever
#: does within a few tokens of a random prompt.
Likely = Callable[[Prompts], list[int]]

#: A grid makes its cases from a package, likely ids, and a seed.
Grid = Callable[[Package, Likely, int], list[ParityCase]]

#: Of the batches: rows, and whether they are padded.
SHAPES = {
    "batch 1": (1, False),
    "batch 1 padded": (1, True),
    "batch 4": (4, False),
    "batch 4 padded": (4, True),
}
_PROMPTS_PER_SHAPE = 6
_NEW_TOKENS = 16

#: Tokens of a long prompt, where the model has the positions. Windows and boundaries below
#: show in the file's own answers.
LONG_PROMPT = 100


def quick_grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """Twelve cases, two of them long, that `export` ends with: some seconds on a small model.

    Where there is room for it, the first has a prompt that is read in pieces.
    """
    own = package.manifest.search.eos_token_id
    cases = []
    for shape in ("batch 1", "batch 4 padded"):
        prompts, prompt_len = random_prompts(package, shape, seed)
        one, two = likely(prompts)
        long, long_len = long_prompts(package, shape, seed)
        settings: list[dict[str, Any]] = [
            {"length_penalty": 1.0, "early_stopping": False, "eos_token_id": own},
            {"length_penalty": 0.0, "early_stopping": True, "eos_token_id": (*own, one)},
            {"length_penalty": 2.0, "early_stopping": "never", "eos_token_id": (*own, one, two)},
            {"num_beams": 1, "num_return_sequences": 1, "eos_token_id": (*own, two)},
            {
                "eos_token_id": (*own, one),
                "do_sample": True,
                "seed": 0,
                "top_k": 20,
                "top_p": 0.9,
                "repetition_penalty": 1.2,
            },
        ]
        cases += [make_case(package, shape, prompts, prompt_len, setting) for setting in settings]
        ends = {"length_penalty": -0.5, "eos_token_id": (*own, likely(long)[1])}
        cases.append(make_case(package, f"{shape}, long", long, long_len, ends))
    return [_with_a_long_prompt(package, cases[0], seed), *cases[1:]]


def _with_a_long_prompt(package: Package, case: ParityCase, seed: int) -> ParityCase:
    """The case with a prompt of more than one piece, where the model has the positions."""
    prompt_len = PROMPT_PIECE + 9
    if room(package) < prompt_len + 16:
        return case
    prompt = np.random.default_rng([seed, prompt_len]).choice(ordinary_ids(package), prompt_len)
    prompts = (tuple(prompt.tolist()),)
    return replace(case, name="long prompt", prompts=prompts, prompt_len=prompt_len)


def full_grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """Batch, left padding, length penalty, stop mode and EOS ids, each with each: 96 cases."""
    own = package.manifest.search.eos_token_id
    cases = []
    for shape in SHAPES:
        drawn = [random_prompts(package, shape, seed + i) for i in range(_PROMPTS_PER_SHAPE - 1)]
        drawn.append(long_prompts(package, shape, seed))
        ends = [likely(prompts) for prompts, _ in drawn]
        axes = itertools.product((0.0, 1.0, 2.0, -0.5), (False, True, "never"), (False, True))
        for i, (penalty, early, both) in enumerate(axes):
            one, two = ends[i % _PROMPTS_PER_SHAPE]
            setting = {
                "length_penalty": penalty,
                "early_stopping": early,
                "eos_token_id": (*own[:1], two) if both else (one,),
            }
            cases.append(make_case(package, shape, *drawn[i % _PROMPTS_PER_SHAPE], setting))
    return cases


def prompt_cases(package: Package, prompts: Sequence[Sequence[int]]) -> list[ParityCase]:
    """The package's own settings, all hypotheses returned, on the caller's prompts."""
    search = package.manifest.search
    config = replace(search, num_return_sequences=search.num_beams)
    return [
        ParityCase(f"prompt {i + 1}", (tuple(prompt),), len(prompt), config)
        for i, prompt in enumerate(prompts)
    ]


def random_prompts(package: Package, shape: str, seed: int) -> tuple[Prompts, int]:
    """Prompts of random ids, and the length to pad them to.

    The searches must agree on any prompt, likely or not.
    """
    batch, padded = SHAPES[shape]
    rng = np.random.default_rng([seed, batch, padded])
    prompt_len = int(rng.integers(4, max(5, min(12, room(package) // 3))))
    lengths = [prompt_len] * batch
    if padded:
        lengths = [int(rng.integers(2, prompt_len)) for _ in range(batch)]
    ordinary = ordinary_ids(package)
    return tuple(tuple(rng.choice(ordinary, size=n).tolist()) for n in lengths), prompt_len


def long_prompts(package: Package, shape: str, seed: int) -> tuple[Prompts, int]:
    """Long prompts of random ids; where the shape is padded, the first is the longest.

    They leave room for as many new tokens as the short ones have.
    """
    batch, padded = SHAPES[shape]
    rng = np.random.default_rng([seed, batch, padded, 1])
    longest = max(1, min(LONG_PROMPT, room(package) - _NEW_TOKENS))
    lengths = [longest] * batch
    if padded:
        lengths[1:] = [int(rng.integers(1, longest + 1)) for _ in lengths[1:]]
    ordinary = ordinary_ids(package)
    return tuple(tuple(rng.choice(ordinary, size=n).tolist()) for n in lengths), longest


def make_case(
    package: Package, shape: str, prompts: Prompts, prompt_len: int, settings: dict[str, Any]
) -> ParityCase:
    """A case of all hypotheses, up to 16 tokens, with these settings."""
    search = package.manifest.search.ready_to_draw()
    config = replace(
        search,
        max_new_tokens=min(_NEW_TOKENS, room(package) - prompt_len),
        max_length=None,
        min_new_tokens=0,
        min_length=0,
        num_return_sequences=search.num_beams,
    ).with_overrides(settings)
    name = f"{shape}, sampled" if config.do_sample else shape
    return ParityCase(name, prompts, prompt_len, config)


def room(package: Package) -> int:
    """Positions that a search may fill, prompt included."""
    limits = package.manifest.limits
    return limits.recompute_boundary or limits.max_positions


def ordinary_ids(package: Package) -> Ids:
    """The vocabulary without EOS and pad ids."""
    manifest = package.manifest
    special = [*manifest.search.eos_token_id, manifest.search.pad_token_id]
    return np.setdiff1d(np.arange(manifest.vocab_size), special)
