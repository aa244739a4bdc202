"""The NumPy model of ONNX Runtime's operators, piece by piece."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TopPLogitsWarper,
)

from beamgen import SearchConfig
from beamgen.parity.contrib.rule_scores import (
    LOWEST,
    draw,
    processed,
    top_p_filtered,
    uniform_numbers,
)
from beamgen.settings.contrib import operator_of

VOCAB = 30


def _scores(seed: int, rows: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, VOCAB)).astype(np.float32) * 3


def test_the_engine_is_minstd_rand0() -> None:
    """C++ standard, [rand.predef]: the 10000th draw of a default one is 1043618065."""
    choices = 2**31 - 2
    five_thousandth = next(islice(uniform_numbers(1), 4999, None))
    second = round(five_thousandth * choices**2) // choices + 1
    assert second == 1043618065


def test_seed_0_is_seed_1_as_the_standard_has_it() -> None:
    assert next(uniform_numbers(0)) == next(uniform_numbers(1)) != next(uniform_numbers(2))


def test_numbers_are_uniform() -> None:
    numbers = np.array(list(islice(uniform_numbers(7), 20_000)))
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_squared < 43.8  # 19 degrees of freedom, p = 0.001


def test_a_draw_follows_the_softmax() -> None:
    scores = _scores(1, rows=1)[0]
    probability = np.exp(scores) / np.exp(scores).sum()
    places = (np.arange(100_000) + 0.5) / 100_000
    counts = np.bincount([draw(scores, place) for place in places], minlength=VOCAB)
    np.testing.assert_allclose(counts / 100_000, probability, atol=2e-5)


def test_a_banned_token_is_not_drawn() -> None:
    scores = np.full(VOCAB, LOWEST, np.float32)
    scores[[3, 9]] = 0.0, -np.inf
    assert {draw(scores, place) for place in (0.0, 0.3, 0.999999)} == {3}


@pytest.mark.parametrize("top_p", [0.1, 0.3, 0.9, 0.99])
def test_top_p_keeps_what_hf_keeps(top_p: float) -> None:
    scores = _scores(2)
    expected = TopPLogitsWarper(top_p)(None, torch.from_numpy(scores)).numpy()
    np.testing.assert_array_equal(top_p_filtered(scores, top_p), expected)


@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.7])
@pytest.mark.parametrize("ngram", [0, 1, 2, 3])
@pytest.mark.parametrize("length", [4, 9], ids=["first token", "later"])
def test_processors_do_what_hfs_do(penalty: float, ngram: int, length: int) -> None:
    """HF's order; a banned token is the lowest number here, and minus infinity there."""
    config = SearchConfig(
        (2,),
        0,
        num_beams=4,
        max_new_tokens=10,
        min_new_tokens=7,
        repetition_penalty=penalty,
        no_repeat_ngram_size=ngram,
        suppress_tokens=(5, 6),
        begin_suppress_tokens=(7,),
        bad_words_ids=((8,), (2,)),
    )
    text = np.random.default_rng(3).integers(0, 4, size=(4, length))
    processors = [RepetitionPenaltyLogitsProcessor(penalty)] if penalty != 1 else []
    processors += [NoRepeatNGramLogitsProcessor(ngram)] if ngram else []
    processors += [
        NoBadWordsLogitsProcessor([[8], [2]], eos_token_id=torch.tensor([2])),
        MinLengthLogitsProcessor(4 + 7, 2),
        SuppressTokensLogitsProcessor([5, 6]),
        SuppressTokensAtBeginLogitsProcessor([7], begin_index=4),
    ]
    scores = _scores(4)
    expected = LogitsProcessorList(processors)(
        torch.from_numpy(text), torch.from_numpy(scores.copy())
    ).numpy()
    found = processed(scores, text, config, 4, VOCAB)
    np.testing.assert_array_equal(found == LOWEST, np.isneginf(expected))
    live = found > LOWEST
    np.testing.assert_allclose(found[live], expected[live], rtol=1e-6)


def test_temperature_comes_last() -> None:
    config = SearchConfig((2,), 0, num_beams=1, do_sample=True, top_k=0, temperature=0.5)
    config = config.for_prompt(3)
    assert operator_of(config) == "Sampling"
    scores = _scores(5)
    found = processed(scores, np.zeros((4, 3), np.int64), config, 3, VOCAB)
    np.testing.assert_allclose(found, scores / 0.5, rtol=1e-6)
