"""Each logits warper against its HF class: the candidates, put back in their places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.onnx_functions import run
from support.scores import compiled
from transformers import GenerationConfig
from transformers.generation import GenerationMixin
from transformers.generation import logits_process as hf

from beamgen.search.functions import warpers

INF = float("inf")
BEAMS = 3

HfWarper = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def random_scores(batch: int, vocab: int, sharpness: float = 1.0) -> np.ndarray:
    """Logits ``[B, n, V]``, no two alike; sharpness 0.01 is flat, 8 peaked."""
    rng = np.random.default_rng(vocab)
    return (rng.normal(size=(batch, BEAMS, vocab)) * sharpness).astype(np.float32)


def every_id(scores: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.arange(scores.shape[2]), scores.shape).copy()


def dense(scores: np.ndarray, token_ids: np.ndarray, vocab: int) -> np.ndarray:
    """Candidates ``[B, n, N]`` in their places, -inf elsewhere, ``[B, n, V]``."""
    assert scores.shape == token_ids.shape
    for ids in token_ids.reshape(-1, token_ids.shape[2]):
        assert len(set(ids)) == len(ids), "a token is a candidate twice"
    placed = np.full((*scores.shape[:2], vocab), -INF, np.float32)
    np.put_along_axis(placed, token_ids, scores, axis=2)
    return placed


def by_hf(warper: HfWarper, scores: np.ndarray) -> np.ndarray:
    """On lists ``[n, V]``."""
    return warper(torch.zeros(len(scores), 1, dtype=torch.long), torch.tensor(scores)).numpy()


def kept(scores: np.ndarray) -> list[int]:
    """How many candidates each list has left."""
    return np.isfinite(scores).sum(-1).ravel().tolist()


# -- temperature


def test_temperature_equals_hf_by_row() -> None:
    temperatures = [0.3, 0.7, 1.0, 1.9, 50.0]
    scores = random_scores(5, 30)
    scores[:, :, 4] = -INF
    (found,) = run(compiled.temperature, scores, temperatures)
    for row, temperature in enumerate(temperatures):
        expected = by_hf(hf.TemperatureLogitsWarper(temperature), scores[row])
        assert np.array_equal(found[row], expected)
        (alone,) = run(compiled.temperature, scores[row : row + 1], [temperature])
        assert np.array_equal(alone[0], found[row])


def test_an_impossible_temperature_is_the_coldest_one() -> None:
    scores = random_scores(3, 30)
    (found,) = run(compiled.temperature, scores, [0.0, -2.0, 1e-6])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, scores * 1e6, rtol=1e-6)


# -- what a count of best scores is


def test_best_scores_by_hand() -> None:
    scores = np.array([[[3.0, 1.0, 2.0], [5.0, 5.0, -INF]]], np.float32)
    for count, expected in [(1, [3, 5]), (2, [2, 5]), (3, [1, -INF]), (9, [1, -INF])]:
        (found,) = run(warpers.best_scores, scores, [count])
        assert found.tolist() == [[[best] for best in expected]]


def test_entropy_equals_torch() -> None:
    scores = random_scores(2, 40, 4)
    scores[1, :, 1::2] = -INF
    scores[1, 2, 1:] = -INF  # one token alone
    (found,) = run(warpers.entropy, scores)
    expected = torch.distributions.Categorical(logits=torch.tensor(scores)).entropy().numpy()
    np.testing.assert_allclose(found[..., 0], expected, rtol=1e-5, atol=1e-6)
    assert found[1, 2, 0] == 0


# -- each against HF, row by row with a value of its own

MADE = {
    "top_k": (hf.TopKLogitsWarper, [1, 2, 3, 7, 1000, 0]),
    "top_p": (hf.TopPLogitsWarper, [1e-6, 0.3, 0.9, 0.99, 0.0, 1.0]),
    "min_p": (hf.MinPLogitsWarper, [0.01, 0.1, 0.5, 0.9, 1.0, 0.0]),
    "typical_p": (hf.TypicalLogitsWarper, [0.01, 0.2, 0.5, 0.9, 0.99, 1.0]),
    "epsilon_cutoff": (hf.EpsilonLogitsWarper, [1e-4, 3e-3, 0.02, 0.3, 0.9, 0.0]),
    "eta_cutoff": (hf.EtaLogitsWarper, [1e-4, 3e-3, 0.02, 0.3, 0.9, 0.0]),
}
OFF = {
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}

HARDEST = {
    "top_k": 1,
    "top_p": 1e-6,
    "min_p": 1.0,
    "typical_p": 1e-6,
    "epsilon_cutoff": 0.999,
    "eta_cutoff": 0.999,
}


def warped(
    name: str, scores: np.ndarray, values: list[Any], to_keep: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates' scores and ids of one warper on every token."""
    if name == "top_k":
        return tuple(run(compiled.top_k, scores, values, [to_keep]))
    if name == "top_p":
        return tuple(run(compiled.top_p, scores, every_id(scores), values, [to_keep]))
    (found,) = run(getattr(compiled, name), scores, values, [to_keep])
    return found, every_id(scores)


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize(
    ("vocab", "sharpness", "to_keep"),  # from flat distributions to peaked ones
    [(2, 1.0, 3), (3, 8.0, 2), (17, 0.01, 4), (60, 1.0, 1), (300, 8.0, 3), (300, 2.0, 1)],
)
def test_warper_equals_hf(name: str, vocab: int, sharpness: float, to_keep: int) -> None:
    made, values = MADE[name]
    scores = random_scores(len(values), vocab, sharpness)
    found = dense(*warped(name, scores, values, to_keep), vocab)
    for row, value in enumerate(values):
        expected = scores[row]
        if value != OFF[name]:
            expected = by_hf(made(value, min_tokens_to_keep=to_keep), scores[row])
        assert np.array_equal(found[row], expected), value
        assert min(kept(found[row])) >= min(to_keep, vocab)


@pytest.mark.parametrize("name", MADE)
def test_each_warper_keeps_as_many_tokens_as_it_must(name: str) -> None:
    made, hardest = MADE[name][0], HARDEST[name]
    scores = random_scores(1, 25, 0.5)
    scores[..., 7] += 9.0  # one token has nearly all: eta's threshold is near 1 then
    for to_keep in (1, 2, 3, 4):
        found = dense(*warped(name, scores, [hardest], to_keep), 25)
        expected = by_hf(made(hardest, min_tokens_to_keep=to_keep), scores[0])
        assert np.array_equal(found[0], expected)
        assert kept(found) == [to_keep] * BEAMS


@pytest.mark.parametrize("name", MADE)
def test_a_row_is_warped_as_if_alone(name: str) -> None:
    values = [OFF[name], MADE[name][1][1], MADE[name][1][2]]
    scores = random_scores(3, 40, 3.0)
    found = dense(*warped(name, scores, values, 2), 40)
    assert np.array_equal(found[0], scores[0])
    for row in (1, 2):
        alone = dense(*warped(name, scores[row : row + 1], [values[row]], 2), 40)
        assert np.array_equal(found[row], alone[0])
    assert min(kept(found[0])) > max(kept(found[1]))


#: The two that list candidates stand behind an If of their own in the file's graph.
LISTING = {"top_k": "top_k_in_use", "top_p": "top_p_in_use"}


@pytest.mark.parametrize("name", LISTING)
def test_what_lists_candidates_is_asked_for_by_any_row(name: str) -> None:
    in_use, (_, values) = getattr(compiled, LISTING[name]), MADE[name]
    for given, expected in (
        ([OFF[name]], False),
        ([OFF[name]] * 3, False),
        ([values[1]], True),
        ([OFF[name], values[1]], True),
    ):
        assert run(in_use, given)[0] == expected
    scores = random_scores(2, 9)
    assert np.array_equal(run(compiled.all_tokens, scores)[0], every_id(scores))
    assert np.array_equal(dense(*warped(name, scores, [OFF[name]]), 9), scores)


@pytest.mark.parametrize("name", sorted(MADE.keys() - LISTING.keys()))
def test_a_warper_that_is_off_changes_no_bit(name: str) -> None:
    scores = random_scores(2, 9)
    scores[0, 0, :5] = -0.0, np.nan, INF, -INF, 1e-42
    for values in ([OFF[name]], [OFF[name]] * 2):
        found, token_ids = warped(name, scores, values)
        assert found.tobytes() == scores.tobytes()
        assert np.array_equal(token_ids, every_id(scores))


@pytest.mark.parametrize("name", MADE)
def test_what_was_banned_before_stays_banned(name: str) -> None:
    made, values = MADE[name]
    scores = random_scores(1, 50, 2.0)
    scores[:, 0, ::2] = -INF
    scores[:, 1, 3:] = -INF
    scores[:, 2, 1:] = -INF  # one token is left
    for to_keep in (1, 4):
        found = dense(*warped(name, scores, values[2:3], to_keep), 50)
        expected = by_hf(made(values[2], min_tokens_to_keep=to_keep), scores[0])
        assert np.array_equal(found[0], expected)


# -- what is particular to one


def test_top_k_keeps_all_that_tie_with_the_last_as_hf_does() -> None:
    scores = np.array([[[1, 3, 2, 2, 0, 2, 2], [5, 5, 5, 5, 5, 5, 5], [7, 6, 5, 4, 3, 2, 1]]])
    scores = np.repeat(scores, 3, axis=0).astype(np.float32)
    counts = [2, 3, 1]
    found, token_ids = run(compiled.top_k, scores, counts, [1])
    placed = dense(found, token_ids, 7)
    for row, count in enumerate(counts):
        assert np.array_equal(placed[row], by_hf(hf.TopKLogitsWarper(count), scores[row]))
    assert kept(placed) == [5, 7, 2, 5, 7, 3, 1, 7, 1]
    assert found.shape == (3, 3, 7)


def test_top_k_of_more_than_can_come_adds_nothing() -> None:
    scores = np.full((1, 1, 40), -INF, np.float32)
    scores[..., [3, 30]] = 1.0, 2.0
    found, token_ids = run(compiled.top_k, scores, [5], [1])
    assert np.array_equal(dense(found, token_ids, 40), scores)
    assert found.shape[2] == 5


def test_top_k_lists_no_more_than_the_row_that_needs_most() -> None:
    found, _ = run(compiled.top_k, random_scores(2, 300), [4, 9], [1])
    assert found.shape == (2, BEAMS, 9)
    assert kept(found) == [4] * BEAMS + [9] * BEAMS


@pytest.mark.parametrize("to_keep", [1, 2, 4])
def test_top_p_of_next_to_nothing_keeps_what_it_must(to_keep: int) -> None:
    top_p = [0.0, -1.0, 1e-6, 0.0, -1.0, 1e-6]
    scores = np.concatenate([random_scores(3, 40, sharpness) for sharpness in (0.01, 8.0)])
    found, token_ids = run(compiled.top_p, scores, every_id(scores), top_p, [to_keep])
    placed = dense(found, token_ids, 40)
    assert set(kept(placed)) == {to_keep}
    best = np.sort(np.argsort(-scores, axis=2)[..., :to_keep])
    assert np.array_equal(np.nonzero(np.isfinite(placed))[2], best.ravel())


def test_top_p_leaves_a_row_alone_in_which_it_is_off() -> None:
    scores = random_scores(2, 40)
    scores[0, :, 3:] -= 300.0  # so unlikely that they have the probability 0
    scores[0, :, 11] = -INF
    found, token_ids = run(compiled.top_p, scores, every_id(scores), [1.0, 0.5], [1])
    placed = dense(found, token_ids, 40)
    assert np.array_equal(placed[0], scores[0])
    assert max(kept(placed[1])) < 40


def test_top_p_sorts_no_more_than_it_needs() -> None:
    scores = random_scores(1, 300, 8.0)
    found, token_ids = run(compiled.top_p, scores, every_id(scores), [0.9], [1])
    expected = by_hf(hf.TopPLogitsWarper(0.9), scores[0])
    assert max(kept(expected)) <= found.shape[2] < 60
    assert np.array_equal(dense(found, token_ids, 300)[0], expected)


@pytest.mark.parametrize("top_p", [0.25, 0.5, 0.6, 0.999])
def test_top_p_keeps_as_many_of_equal_tokens_as_hf(top_p: float) -> None:
    # which of them is another matter: HF's sort promises no order
    scores = np.zeros((1, 1, 16), np.float32)
    scores[..., 8:] = -2.0
    found, token_ids = run(compiled.top_p, scores, every_id(scores), [top_p], [1])
    expected = by_hf(hf.TopPLogitsWarper(top_p), scores[0])
    placed = dense(found, token_ids, 16)
    assert np.array_equal(np.sort(placed[0]), np.sort(expected))


@pytest.mark.parametrize("name", ["min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"])
def test_a_short_list_is_warped_as_the_whole(name: str) -> None:
    scores = random_scores(2, 80, 2.0)
    short, token_ids = run(compiled.top_k, scores, [12, 30], [1])
    value = MADE[name][1][2]
    (found,) = run(getattr(compiled, name), short, [value], [1])
    (whole,) = run(getattr(compiled, name), dense(short, token_ids, 80), [value], [1])
    assert np.array_equal(dense(found, token_ids, 80), whole)
    assert kept(found) != kept(short)


# -- all of them, in HF's order


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 40, "top_p": 0.95},
        {"top_k": 50, "top_p": 0.98, "min_p": 0.02, "typical_p": 0.95},
        {
            "temperature": 0.7,
            "top_k": 60,
            "top_p": 0.97,
            "min_p": 0.01,
            "typical_p": 0.9,
            "epsilon_cutoff": 0.01,
            "eta_cutoff": 0.02,
            "renormalize_logits": True,
        },
    ],
    ids=["two", "four", "all"],
)
def test_warpers_in_a_row_equal_hf(settings: dict[str, Any], beams: int) -> None:
    vocab, eos = 200, [2, 5]
    config = GenerationConfig(
        **({"top_k": 0, "top_p": 1.0} | settings), do_sample=True, num_beams=beams
    )
    config._eos_token_tensor = torch.tensor(eos)
    chain = GenerationMixin()._get_logits_processor(config, 1)
    assert len(chain) == len(settings)
    scores = np.concatenate([random_scores(1, vocab, sharpness) for sharpness in (0.5, 2, 6)])

    to_keep = 1 if beams == 1 else 1 + len(eos)
    found, token_ids = scores, every_id(scores)
    for name, value in settings.items():
        if name == "top_k":
            found, token_ids = run(compiled.top_k, found, [value], [to_keep])
        elif name == "top_p":
            found, token_ids = run(compiled.top_p, found, token_ids, [value], [to_keep])
        elif name == "temperature":
            (found,) = run(compiled.temperature, found, [value])
        elif name == "renormalize_logits":
            (found,) = run(compiled.renormalize_logits, found, [1])
        else:
            (found,) = run(getattr(compiled, name), found, [value], [to_keep])
    placed = dense(found, token_ids, vocab)
    for row in range(len(scores)):
        expected = by_hf(chain, scores[row])
        assert np.array_equal(np.isfinite(placed[row]), np.isfinite(expected))
        np.testing.assert_allclose(placed[row], expected, rtol=1e-6, atol=1e-6)
    assert to_keep <= min(kept(placed)) < max(kept(placed)) < 60
