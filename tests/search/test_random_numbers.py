"""The random numbers: known answers, two implementations, independence, and their law.

Every test draws from fixed seeds, so that it gives the same answer each time. The
levels are those of one look: a p-value below 0.1 % or above 99.9 % fails, after Knuth,
The Art of Computer Programming, vol. 2, 3.3.1: too good is suspect as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.candidates import tokens
from support.chi_squared import LEAST, fits, p_value
from support.onnx_functions import run

from beamgen.parity import draws
from beamgen.search.functions import random_numbers

WORD = 0xFFFFFFFF
MOST = 1 - LEAST


@pytest.mark.parametrize(
    # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.4, upper-tail critical values
    ("critical", "freedom", "level"),
    [(10.828, 1, 0.001), (29.588, 10, 0.001), (18.307, 10, 0.05), (149.449, 100, 0.001)],
)
def test_p_values_are_the_tables(critical: float, freedom: int, level: float) -> None:
    assert p_value(critical, freedom) == pytest.approx(level, rel=1e-3)


def uniform(seed: Any, step: int, token_ids: np.ndarray) -> np.ndarray:
    return run(random_numbers.uniform, seed, [step], token_ids)[0]


def uniform_of_draws(seed: int, step: int, beam: Any, token: Any) -> np.ndarray:
    word = draws.philox((token, beam, step, 0), (seed & WORD, (seed >> 32) & WORD))[0]
    return (word + 0.5) / 2**32


# Random123, tests/kat_vectors, "philox4x32 10": counter, key, words
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([WORD] * 4, [WORD] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def test_philox_gives_the_known_answers() -> None:
    words = np.array([[*counter, *key] for counter, key, _ in KNOWN], np.uint64)
    found = run(random_numbers.philox, *words.T)
    assert np.stack(found, axis=1).tolist() == [answer for _, _, answer in KNOWN]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_of_parity_gives_them_too(
    counter: list[int], key: list[int], answer: list[int]
) -> None:
    assert [int(word) for word in draws.philox(tuple(counter), tuple(key))] == answer


def test_both_philox_agree_on_any_words() -> None:
    words = np.random.default_rng(0).integers(0, 2**32, (6, 50), np.uint64)
    found = np.stack(run(random_numbers.philox, *words))
    for column, (*counter, k0, k1) in enumerate(words.T.tolist()):
        assert found[:, column].tolist() == [
            int(word) for word in draws.philox(tuple(counter), (k0, k1))
        ]


SEEDS = [0, 1, 42, 2**32 - 1, 2**32, 2**63 - 1, -1, -42, -(2**63)]


def test_uniform_equals_the_one_of_parity() -> None:
    for step in (0, 7, 2**20):
        found = uniform(SEEDS, step, tokens(len(SEEDS), 3, 500))
        assert found.dtype == np.float64
        for row, seed in enumerate(SEEDS):
            expected = uniform_of_draws(seed, step, np.arange(3)[:, None], np.arange(500))
            assert np.array_equal(found[row], expected)
        assert len(np.unique(found[:, :, 0])) == len(SEEDS) * 3


def test_uniform_is_never_0_or_1() -> None:
    found = uniform([7], 0, tokens(4, 4, 65536))
    assert 0 < found.min() < 1e-4
    assert 1 - 1e-4 < found.max() < 1
    # an odd multiple of 2**-33, so that no word is 0 or 1
    assert (found * 2**33 % 2 == 1).all()


def test_noise_is_the_one_of_parity() -> None:
    found = run(
        random_numbers.perturbed, np.zeros((2, 3, 40), np.float32), tokens(2, 3, 40), [5], [4]
    )[0]
    for row in range(2):
        np.testing.assert_allclose(found[row], draws.gumbel_noise(5 + row, 4, 3, 40), rtol=1e-13)


def test_a_number_depends_on_no_other_row() -> None:
    found = uniform([3, 8, 5], 2, tokens(3, 2, 30))
    assert np.array_equal(uniform([5, 3], 2, tokens(2, 2, 30)), found[[2, 0]])
    assert np.array_equal(uniform([8], 2, tokens(1, 2, 30)), found[1:2])


def test_a_number_depends_on_no_other_beam_or_candidate() -> None:
    found = uniform([3, 8], 2, tokens(2, 4, 30))
    assert np.array_equal(uniform([3, 8], 2, tokens(2, 1, 30)), found[:, :1])
    some = np.random.default_rng(0).permuted(tokens(2, 4, 30), axis=2)[:, :, :7]
    assert np.array_equal(uniform([3, 8], 2, some), np.take_along_axis(found, some, 2))


def test_one_seed_counts_up_by_row() -> None:
    assert run(random_numbers.row_seeds, [7], [3])[0].tolist() == [7, 8, 9]
    assert run(random_numbers.row_seeds, [7, 7, 2], [3])[0].tolist() == [7, 7, 2]
    assert run(random_numbers.row_seeds, [-1], [3])[0].tolist() == [-1, 0, 1]
    found = uniform([7], 1, tokens(3, 2, 20))
    assert np.array_equal(found, uniform([7, 8, 9], 1, tokens(3, 2, 20)))
    same = uniform([7, 7, 7], 1, tokens(3, 2, 20))
    assert np.array_equal(same[1], same[0])


COUNT = 1 << 16


def along_tokens() -> np.ndarray:
    return uniform([1234], 3, tokens(1, 1, COUNT))


def along_beams() -> np.ndarray:
    return uniform([1234], 3, np.full((1, COUNT, 1), 5))


def along_seeds() -> np.ndarray:
    return uniform([1234], 3, np.full((COUNT, 1, 1), 5))


def along_steps() -> np.ndarray:
    # that uniform hands a step to philox so is held above
    counter = np.zeros((4, COUNT), np.uint64)
    counter[0], counter[2] = 5, np.arange(COUNT)
    key = np.array([[1234], [0]], np.uint64)
    return (run(random_numbers.philox, *counter, *key)[0] + 0.5) / 2**32


ALONG = {
    "tokens": along_tokens,
    "beams": along_beams,
    "seeds": along_seeds,
    "steps": along_steps,
}


@pytest.fixture(scope="module", params=ALONG)
def numbers(request: pytest.FixtureRequest) -> np.ndarray:
    """COUNT numbers of which only one thing changes, in its order."""
    return ALONG[request.param]().ravel()


def test_numbers_are_uniform(numbers: np.ndarray) -> None:
    for bins in (16, 1000):
        counts = np.bincount((numbers * bins).astype(int), minlength=bins)
        assert LEAST < fits(counts, np.full(bins, 1 / bins)) < MOST


def test_every_bit_is_even(numbers: np.ndarray) -> None:
    words = (numbers * 2**32 - 0.5).astype(np.uint64)
    assert np.array_equal((words + 0.5) / 2**32, numbers)
    ones = np.array([((words >> np.uint64(bit)) & np.uint64(1)).sum() for bit in range(32)])
    # 32 independent normal deviates, squared
    deviates = (ones - COUNT / 2) / np.sqrt(COUNT / 4)
    assert LEAST < p_value((deviates**2).sum(), 32) < MOST


def test_neighbours_are_independent(numbers: np.ndarray) -> None:
    # Knuth, 3.3.2 B, the serial test: pairs that do not overlap
    first, second = (numbers.reshape(-1, 2) * 16).astype(int).T
    counts = np.bincount(first * 16 + second, minlength=256)
    assert LEAST < fits(counts, np.full(256, 1 / 256)) < MOST


@pytest.mark.parametrize("lag", [1, 2, 16])
def test_numbers_are_not_correlated(numbers: np.ndarray, lag: int) -> None:
    # Knuth, 3.3.2 K: about normal of variance 1 / n; 3.29 deviations are 0.1 %, two-sided
    correlation = np.corrcoef(numbers[:-lag], numbers[lag:])[0, 1]
    assert abs(correlation) * np.sqrt(COUNT) < 3.29


def test_rows_beams_and_steps_are_not_correlated() -> None:
    both = [uniform([9], step, tokens(3, 3, 20000)) for step in (0, 1)]
    lists = np.concatenate([values.reshape(9, -1) for values in both])
    correlations = np.corrcoef(lists)[np.triu_indices(18, 1)] * np.sqrt(20000)
    # 153 about independent normal deviates, squared
    assert LEAST < p_value((correlations**2).sum(), 153) < MOST
