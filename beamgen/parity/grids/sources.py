"""Cases of an encoder-decoder: what a decoder would continue is what the encoder reads.

An encoder that reads no ids gets random features for them, those ids being the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from beamgen.package.folder import Package
from beamgen.parity.grids.shapes import ordinary_ids
from beamgen.parity.report import ParityCase, Prompts
from beamgen.settings.sources import DECODER_PROMPT, FeatureBatch

#: Of so many cases one has a decoder prompt of so many tokens, another one for each row.
_EVERY, _LONGER = 4, 3


def behind_encoder(
    package: Package, cases: Sequence[ParityCase], seed: int | None = None
) -> list[ParityCase]:
    """The cases with their prompts as sources, padded on the right, or as seeds of features.

    Args:
        package: of an encoder-decoder.
        cases: made as for a decoder.
        seed: draws longer decoder prompts for some of them; None gives none such.
    """
    encoder = package.manifest.encoder
    assert encoder is not None, "a decoder alone has no sources"
    start, most = encoder.decoder_start_token_id, encoder.max_positions
    features, own = package.manifest.features, _own_prompt(package)
    rng = None if seed is None else np.random.default_rng([seed, 7])
    ordinary = ordinary_ids(package)
    made = []
    for number, case in enumerate(cases):
        long = number % _EVERY == _EVERY - 1 or _leaves_one_beam(case)
        longer = _LONGER if rng is not None and long else 1
        drawn = [[] for _ in case.prompts] if rng is None else _drawn(case, ordinary, rng, longer)
        prompts: Prompts = tuple((start, *row) for row in drawn)
        if rng is not None and number % _EVERY == 0 and len(own) > 1:
            prompts, longer = (own,) * len(case.prompts), len(own)
        if features is not None:
            encoded = _features(*features, case.prompts)
            made.append(replace(case, prompts=prompts, prompt_len=longer, features=encoded))
            continue
        sources = tuple(source[:most] for source in case.prompts)
        length = case.prompt_len if most is None else min(case.prompt_len, most)
        made.append(
            replace(case, prompts=prompts, prompt_len=longer, sources=sources, source_len=length)
        )
    return made


def _own_prompt(package: Package) -> tuple[int, ...]:
    """What the decoder of a package begins with by default."""
    rows = {row["name"]: row for row in package.manifest.inputs}
    ((*ids,),) = rows[DECODER_PROMPT.name].get("default") or [[]]
    return tuple(ids)


def _features(name: str, sizes: Sequence[int], seeds: Prompts) -> FeatureBatch:
    """Random features, for each row by a seed of its own."""
    rows = [np.random.default_rng(seed).normal(size=sizes) for seed in seeds]
    return FeatureBatch(name, np.stack(rows).astype(np.float32))


def _leaves_one_beam(case: ParityCase) -> bool:
    """Whether beams are drawn after a forced token, which leaves one of them alive.

    HF goes on with what has no probability, in an order that nothing decides. A longer decoder
    prompt is behind the place where a token is forced.
    """
    config = case.config
    return config.do_sample and config.num_beams > 1 and config.forced_bos_token_id is not None


def _drawn(
    case: ParityCase, ordinary: np.ndarray, rng: np.random.Generator, length: int
) -> list[list[int]]:
    """Ids that follow the first one of each row's decoder prompt."""
    return [rng.choice(ordinary, size=length - 1).tolist() for _ in case.prompts]
