"""Cases for a small model whose windows and boundaries are a few tokens long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beamgen.package.folder import Package
from beamgen.parity.grids.shapes import Likely, make_case, ordinary_ids
from beamgen.parity.report import ParityCase, Prompts

#: Lengths of the prompts of each case: beyond all that is small in such a model, and before.
_LENGTHS = {
    "long": (40,),
    "long, padded": (40, 23, 3),
    "short": (4,),
    "short, padded": (5, 2),
}


def long_grid(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """Prompts that reach beyond the small model's windows and boundaries, and some before."""
    rng = np.random.default_rng([seed, 6])
    ordinary = ordinary_ids(package)
    own = package.manifest.search.eos_token_id
    cases = []
    for name, lengths in _LENGTHS.items():
        prompts = _drawn(lengths, ordinary, rng)
        for eos in (own, (likely(prompts)[0],)):
            title = f"a small random model, {name}"
            settings = {"eos_token_id": eos, "length_penalty": 1.0 if eos == own else 0.0}
            cases.append(make_case(package, title, prompts, max(lengths), settings))
    return cases


def _drawn(lengths: Sequence[int], ordinary: np.ndarray, rng: np.random.Generator) -> Prompts:
    return tuple(tuple(rng.choice(ordinary, size=length).tolist()) for length in lengths)
