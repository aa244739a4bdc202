"""Cases of an encoder-decoder: everything that decides a search, each with each."""

from __future__ import annotations

import itertools

import numpy as np

from beamgen import Package
from beamgen.parity.grids.shapes import Likely, make_case, ordinary_ids
from beamgen.parity.report import ParityCase

#: Lengths of the sources of each batch, padded to the longest and a little more.
SHAPES = {"batch 1": (9,), "batch 3 padded": (9, 4, 1), "batch 3": (7, 7, 7)}


def each_with_each(package: Package, likely: Likely, seed: int = 0) -> list[ParityCase]:
    """243 cases: batch, beams, length penalty, stop mode and EOS ids."""
    rng = np.random.default_rng([seed, 8])
    ordinary = ordinary_ids(package)
    own = package.manifest.search.eos_token_id
    cases = []
    for shape, lengths in SHAPES.items():
        sources = tuple(tuple(rng.choice(ordinary, size=n).tolist()) for n in lengths)
        one, two = likely(sources)
        for beams, penalty, early, eos in itertools.product(
            (1, 3, 5), (0.0, 1.0, -0.5), (False, True, "never"), (own, (*own, one), (one, two))
        ):
            settings = {
                "num_beams": beams,
                "num_return_sequences": beams,
                "length_penalty": penalty,
                "early_stopping": early,
                "eos_token_id": eos,
            }
            if beams == 1:
                settings["num_return_sequences"] = 1
            longest = max(lengths) + ("padded" in shape)
            cases.append(make_case(package, shape, sources, longest, settings))
    return cases
