"""A batch of different requests gives each what it gets alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from support.architectures import ARCHITECTURES

from beamgen import BeamgenError, Generator, Package, SearchConfig
from beamgen.settings.prompts import left_pad
from beamgen.settings.result import BeamOutput
from beamgen.settings.table import PER_ROW, SAMPLING

#: Three values of every setting that rows may have of their own.
VALUES = {
    "max_new_tokens": (4, 9, 12),
    "min_new_tokens": (0, 4, 2),
    "length_penalty": (1.0, -0.5, 2.0),
    "repetition_penalty": (1.0, 1.4, 0.8),
    "encoder_repetition_penalty": (1.0, 1.5, 0.7),
    "no_repeat_ngram_size": (0, 2, 1),
    "encoder_no_repeat_ngram_size": (0, 1, 2),
    "forced_bos_token_id": (7, None, 9),
    "seed": (3, 2**62, 0),
    "temperature": (0.7, 1.0, 1.6),
    "top_k": (0, 5, 50),
    "top_p": (1.0, 0.9, 0.4),
    "min_p": (0.0, 0.1, 0.02),
    "typical_p": (1.0, 0.8, 0.5),
    "epsilon_cutoff": (0.0, 0.02, 0.005),
    "eta_cutoff": (0.0, 0.01, 0.03),
}
MODES = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 4, "num_return_sequences": 4},
    "sampling": {"num_beams": 1, "num_return_sequences": 3, "do_sample": True},
    "beam sampling": {"num_beams": 4, "num_return_sequences": 4, "do_sample": True},
}


def test_every_setting_of_a_row_is_tried() -> None:
    assert set(VALUES) == PER_ROW - {"constraint"}  # of rows: test_constrained_search.py


def _hypotheses(output: BeamOutput, row: int, prompt_len: int, limit: int) -> list[tuple]:
    """Generated tokens up to the row's own limit, without what pads them; and scores."""
    return [
        (
            output.sequences[row, i, prompt_len:][:limit].tolist(),
            output.finish_reasons[row, i],
            output.token_log_probs[row, i][:limit],
            float(output.sequences_scores[row, i]),
        )
        for i in np.flatnonzero(output.finish_reasons[row])
    ]


def _prompts(package: Package, lengths: tuple[int, ...] = (3, 7, 5)) -> list[list[int]]:
    rng = np.random.default_rng(5)
    return [rng.integers(3, package.manifest.vocab_size, size=n).tolist() for n in lengths]


def _is_heeded(name: str, mode: dict[str, object], package: Package) -> bool:
    """Whether a search of that mode looks at a setting; under old rules beams may not."""
    if name == "encoder_repetition_penalty" and not package.manifest.rules.penalty_reaches_beams:
        return mode == MODES["greedy"]
    return name not in SAMPLING or "do_sample" in mode


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(
    ("mode", "which"),
    [
        (mode, which)
        for mode, settings in MODES.items()
        for which in ("all at once", *VALUES)
        if which not in SAMPLING or "do_sample" in settings
    ],
)
def test_rows_do_not_meet(
    name: str, mode: str, which: str, generators: Callable[[str], Generator]
) -> None:
    generator = generators(name)
    package = generator.package
    prompts = _prompts(package, *[(1, 1, 1)] * (which == "forced_bos_token_id"))
    eos = (2, *range(10, 20))
    base = SearchConfig(eos, package.manifest.search.pad_token_id, max_new_tokens=10)
    names = VALUES if which == "all at once" else [which]
    heeded = [n for n in names if _is_heeded(n, MODES[mode], package)]
    rows = [
        base.with_overrides(
            {**MODES[mode], "output_scores": True, **{n: VALUES[n][row] for n in heeded}}
        )
        for row in range(3)
    ]
    if "seed" not in heeded:
        rows = [replace(config, seed=7 * row) for row, config in enumerate(rows)]
    ids, mask = left_pad(prompts, base.pad_token_id)
    together = generator.search_ids(ids, mask, rows)
    prompt_len = ids.shape[1]
    differ = set()
    for row, config in enumerate(rows):
        # with the same padding, which history processors read as HF's do
        alone = generator.search_ids(ids[row : row + 1], mask[row : row + 1], [config])
        limit = config.max_new_tokens or 0
        expected = _hypotheses(alone, 0, prompt_len, limit)
        found = _hypotheses(together, row, prompt_len, limit)
        assert len(found) == len(expected) > 0
        for (tokens, reason, log_probs, score), (own, why, own_log_probs, own_score) in zip(
            found, expected, strict=True
        ):
            length = min(len(tokens), len(own))
            assert tokens[:length] == own[:length]
            assert reason == why
            shared = min(len(log_probs), len(own_log_probs))
            np.testing.assert_allclose(log_probs[:shared], own_log_probs[:shared], atol=1e-4)
            assert score == pytest.approx(own_score, rel=1e-4, abs=1e-4)
        differ.add(str([tokens for tokens, *_ in expected]))
    assert len(differ) == 3


def test_one_seed_is_counted_up_by_row(generators: Callable[[str], Generator]) -> None:
    generator = generators("gpt2")
    settings = {"num_beams": 1, "do_sample": True, "max_new_tokens": 12}
    together = generator.generate([[5, 9, 7]] * 3, seed=11, **settings)
    alone = [generator.generate([5, 9, 7], seed=11 + row, **settings)[0] for row in range(3)]
    assert [row[0].token_ids for row in together] == [row[0].token_ids for row in alone]
    assert len({tuple(row[0].token_ids) for row in together}) == 3


def test_generate_takes_a_value_for_each_prompt(generators: Callable[[str], Generator]) -> None:
    generator = generators("gpt2")
    prompts = [[5, 9, 7], [6, 6, 8]]
    found = generator.generate(prompts, max_new_tokens=[3, 8], length_penalty=[0.0, 1.0])
    assert [len(row[0].token_ids) for row in found] == [3, 8]
    for row, (new, penalty) in enumerate(((3, 0.0), (8, 1.0))):
        alone = generator.generate(prompts[row], max_new_tokens=new, length_penalty=penalty)
        assert alone[0][0].token_ids == found[row][0].token_ids
        assert alone[0][0].score == pytest.approx(found[row][0].score, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"max_new_tokens": [3, 4, 5]}, "max_new_tokens is a list of 3, and there are 2 prompts"),
        ({"num_beams": [3, 4]}, "num_beams has to be the same for all rows"),
        ({"temperature": [0.5, 0.7]}, "temperature would change nothing"),
        ({"length_penalty": [1.0, "x"]}, "length_penalty must be a finite number"),
    ],
)
def test_wrong_lists_are_refused(
    settings: dict, cause: str, generators: Callable[[str], Generator]
) -> None:
    with pytest.raises(BeamgenError, match=cause):
        generators("gpt2").generate([[5, 9], [6, 8]], **settings)
