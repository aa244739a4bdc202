"""What is drawn: one token of each chain, or continuations of beams without replacement.

Every test draws from fixed seeds, so that it gives the same answer each time; a p-value
below 0.1 % fails.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from support.candidates import tokens
from support.chi_squared import LEAST, fits, same_law
from support.onnx_functions import run
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.generation import GenerationMixin

from beamgen.parity import draws
from beamgen.search.functions import later_rules, random_numbers
from beamgen.settings.rules import installed_rules

NO_EOS = np.array([], np.int64)
SCORES = np.array([0.0, 1.5, -1.0, 0.3, -2.5, 0.9], np.float32)
DRAWS = 40000


def softmax(scores: np.ndarray) -> np.ndarray:
    odds = np.exp(scores.astype(np.float64))
    return odds / odds.sum()


def candidates(
    scores: np.ndarray, token_ids: np.ndarray, running: Any, one_beam: bool, seed: Any, step: int
) -> list[np.ndarray]:
    return run(
        random_numbers.perturbed_candidates,
        scores, token_ids, running, np.array(one_beam), seed, [step],
    )  # fmt: skip


def draw_one(
    scores: np.ndarray, token_ids: np.ndarray, seed: Any, step: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and their log-probabilities, one of each list."""
    running = np.zeros(scores.shape[:2], np.float32)
    log_probs, ids, _, perturbed = candidates(scores, token_ids, running, True, seed, step)
    score, drawn, chains, own = run(random_numbers.draw_one, log_probs, ids, perturbed)
    assert np.array_equal(score, own)
    assert chains.tolist() == [list(range(scores.shape[1]))] * len(scores)
    return drawn, own


@pytest.mark.parametrize("one_beam", [False, True])
def test_candidates_of_beams_compete_and_those_of_chains_do_not(one_beam: bool) -> None:
    scores = np.random.default_rng(0).normal(size=(2, 3, 9)).astype(np.float32)
    running = np.array([[0.0, -1.0, -2.5], [-4.0, -np.inf, -1e9]], np.float32)
    token_ids = tokens(2, 3, 9)[..., ::-1] * 2
    found = candidates(scores, token_ids, running, one_beam, [3], 5)
    own, ids, accumulated, perturbed = found
    assert np.array_equal(own, scores)
    assert np.array_equal(ids, token_ids)
    assert np.array_equal(accumulated, scores if one_beam else scores + running[..., None])
    assert perturbed.dtype == np.float64
    (expected,) = run(random_numbers.perturbed, accumulated, token_ids, [3], [5])
    assert np.array_equal(perturbed, expected)


@pytest.mark.parametrize("one_beam", [False, True])
def test_beams_share_the_prompts_candidates_at_first(one_beam: bool) -> None:
    scores = np.random.default_rng(0).normal(size=(2, 1, 9)).astype(np.float32)
    running = np.zeros((2, 4), np.float32)
    found = candidates(scores, tokens(2, 1, 9) + 7, running, one_beam, [3], 0)
    repeated = candidates(
        np.repeat(scores, 4, axis=1), tokens(2, 4, 9) + 7, running, one_beam, [3], 0
    )
    for mine, its in zip(found, repeated, strict=True):
        assert mine.shape == (2, 4, 9)
        assert np.array_equal(mine, its)
    # with noise of their own
    assert len(np.unique(found[3])) == 2 * 4 * 9


def frequencies(drawn: Any, vocab: int = len(SCORES)) -> np.ndarray:
    return np.bincount(np.ravel(drawn), minlength=vocab)


@pytest.mark.parametrize("batch", [1, DRAWS, 200])
def test_draws_follow_softmax(batch: int) -> None:
    # along beams, along rows and along both
    shape = (batch, DRAWS // batch, len(SCORES))
    drawn, log_probs = draw_one(np.broadcast_to(SCORES, shape).copy(), tokens(*shape), [11])
    assert drawn.shape == log_probs.shape == shape[:2]
    assert drawn.dtype == np.int64
    probabilities = softmax(SCORES)
    assert fits(frequencies(drawn), probabilities) > LEAST
    np.testing.assert_allclose(log_probs, np.log(probabilities)[drawn], atol=1e-6)


def test_draws_of_steps_follow_softmax_and_do_not_repeat() -> None:
    scores = np.broadcast_to(SCORES[:4], (1500, 1, 4)).copy()
    probabilities = softmax(SCORES[:4])
    steps = [draw_one(scores, tokens(1500, 1, 4), [11], step)[0].ravel() for step in range(6)]
    assert fits(sum(frequencies(drawn, 4) for drawn in steps), probabilities) > LEAST
    pairs = np.concatenate(steps[::2]) * 4 + np.concatenate(steps[1::2])
    assert fits(frequencies(pairs, 16), np.outer(probabilities, probabilities)) > LEAST


def test_draws_have_the_law_of_torch_multinomial() -> None:
    shape = (DRAWS, 1, len(SCORES))
    drawn, _ = draw_one(np.broadcast_to(SCORES, shape).copy(), tokens(*shape), [21])
    generator = torch.Generator().manual_seed(1)
    probabilities = torch.softmax(torch.tensor(SCORES), 0)
    by_torch = torch.multinomial(probabilities, DRAWS, replacement=True, generator=generator)
    assert same_law(frequencies(drawn), frequencies(by_torch)) > LEAST


def test_draws_have_the_law_of_hf_sampling() -> None:
    torch.manual_seed(2)
    config = GPT2Config(vocab_size=6, n_positions=4, n_embd=8, n_layer=1, n_head=1)
    config.update({"bos_token_id": None, "eos_token_id": None})
    model = GPT2LMHeadModel(config).eval()
    prompt = torch.tensor([[3]])
    with torch.no_grad():
        model.lm_head.weight.copy_(torch.randn(6, 8) / 3)  # a fresh model's are near 0
        logits = model(prompt).logits[0, -1].numpy()
    sampled = model.generate(
        prompt, do_sample=True, top_k=0, max_new_tokens=1, num_return_sequences=DRAWS
    )
    shape = (DRAWS, 1, 6)
    drawn, _ = draw_one(np.broadcast_to(logits, shape).copy(), tokens(*shape), [31])
    assert softmax(logits).max() > 2 * softmax(logits).min()
    assert same_law(frequencies(drawn), frequencies(sampled[:, 1])) > LEAST


def test_a_draw_gives_the_token_id_and_its_log_probability() -> None:
    scores = np.array([[[0.0, 1.0, -np.inf, 2.0]]] * 12, np.float32)
    drawn, log_probs = draw_one(scores, np.array([[[40, 7, 2, 19]]] * 12), [5])
    expected = dict(zip([40, 7, 19], np.log(softmax(np.array([0.0, 1.0, 2.0]))), strict=True))
    assert len(set(drawn.ravel())) > 1
    for token, log_prob in zip(drawn.ravel(), log_probs.ravel(), strict=True):
        assert log_prob == pytest.approx(expected[token], rel=1e-6)


def test_a_banned_token_is_never_drawn() -> None:
    scores = np.broadcast_to(SCORES, (5000, 1, 6)).copy()
    scores[..., 1] = -np.inf
    drawn, log_probs = draw_one(scores, tokens(5000, 1, 6), [3])
    assert not (drawn == 1).any()
    assert np.isfinite(log_probs).all()
    assert fits(np.delete(frequencies(drawn), 1), softmax(np.delete(SCORES, 1))) > LEAST


def test_a_draw_depends_on_its_row_and_chain_alone() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 5, 30)).astype(np.float32)
    drawn, _ = draw_one(scores, tokens(4, 5, 30), [3, 9, 9, 4], 2)
    order = np.array([29, *range(29)])
    for rows in ([2, 0], [3]):
        found, _ = draw_one(
            scores[rows][:, :3][..., order],
            tokens(len(rows), 3, 30)[..., order],
            np.array([3, 9, 9, 4])[rows],
            2,
        )
        assert np.array_equal(found, drawn[rows, :3])


# two beams of three tokens; the second beam is less likely
LOG_PROBS = np.log([[0.5, 0.3, 0.2], [0.2, 0.35, 0.45]]).astype(np.float32)
RUNNING = np.array([0.0, -0.4], np.float32)
ROWS = 40000


def sampled(
    log_probs: np.ndarray,
    running: np.ndarray,
    eos: Any,
    seed: Any,
    step: int = 0,
    token_ids: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Scores, tokens, beams and the tokens' own log-probabilities."""
    ids = tokens(*log_probs.shape) if token_ids is None else token_ids
    drawn_by = candidates(log_probs, ids, running, False, seed, step)
    return run(random_numbers.sample_top_k_continuations, *drawn_by, eos)


def orders(drawn: np.ndarray, count: int) -> np.ndarray:
    """How often each ordered choice of ``count`` of 6 comes first; drawn ``[rows, >= count]``."""
    code = {choice: place for place, choice in enumerate(itertools.permutations(range(6), count))}
    found = np.bincount([code[tuple(row)] for row in drawn[:, :count].tolist()])
    return np.pad(found, (0, len(code) - len(found)))


def as_hf_orders(drawn: np.ndarray) -> np.ndarray:
    """Continuations ``[rows, 4]`` in the order that the installed HF gives them."""
    if not installed_rules().draws_are_sorted:
        return drawn
    scores = (LOG_PROBS + RUNNING[:, None]).ravel()[drawn]
    return np.take_along_axis(drawn, np.argsort(-scores, axis=1), axis=1)


def law(probabilities: np.ndarray, count: int) -> np.ndarray:
    """p_i * p_j / (1 - p_i) * ... of each ordered choice."""
    found = []
    for choice in itertools.permutations(range(6), count):
        left, likelihood = 1.0, 1.0
        for place in choice:
            likelihood *= probabilities[place] / left
            left -= probabilities[place]
        found.append(likelihood)
    return np.array(found)


@pytest.fixture(scope="module")
def continuations() -> np.ndarray:
    """Places in (beam, token) order, ``[ROWS, 4]``."""
    _, drawn, beams, _ = sampled(
        np.broadcast_to(LOG_PROBS, (ROWS, 2, 3)).copy(),
        np.broadcast_to(RUNNING, (ROWS, 2)).copy(),
        [2],
        [77],
    )
    return beams * 3 + drawn


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_continuations_come_in_the_order_of_draws_without_replacement(
    continuations: np.ndarray, count: int
) -> None:
    expected = law(softmax((LOG_PROBS + RUNNING[:, None]).ravel()), count)
    assert expected.sum() == pytest.approx(1)
    assert fits(orders(continuations, count), expected) > LEAST


def test_continuations_have_the_law_of_hf(continuations: np.ndarray) -> None:
    torch.manual_seed(3)
    accumulated = torch.tensor((LOG_PROBS + RUNNING[:, None]).ravel()).expand(ROWS, -1)
    nothing = torch.zeros(ROWS, 2, 1, dtype=torch.long)
    _, sequences, indices = GenerationMixin()._get_top_k_continuations(
        accumulated, nothing, nothing, 0, 0, True, 4, 2, batch_size=ROWS, vocab_size=3
    )
    # HF's indices are counted over the whole batch
    by_hf = (indices[:, :, 0] % 2) * 3 + sequences[:, :, 0]
    for count in (2, 4):
        ours = orders(as_hf_orders(continuations), count)
        hfs = orders(by_hf.numpy(), count)
        come = ours + hfs > 0  # what is sorted comes in some orders only
        assert same_law(ours[come], hfs[come]) > LEAST


def test_continuations_have_the_law_of_torch_multinomial(continuations: np.ndarray) -> None:
    generator = torch.Generator().manual_seed(4)
    probabilities = torch.softmax(torch.tensor(LOG_PROBS + RUNNING[:, None]).reshape(1, 6), -1)
    by_torch = torch.multinomial(probabilities.expand(ROWS, -1), 4, generator=generator)
    assert same_law(orders(continuations, 4), orders(by_torch.numpy(), 4)) > LEAST


@pytest.mark.parametrize("eos", [[], [2], [2, 5]])
def test_continuations_equal_hf_with_the_same_draws(eos: list[int]) -> None:
    batch, beams, vocab, length, seed = 3, 4, 50, 6, 13
    rng = np.random.default_rng(0)
    log_probs = torch.log_softmax(torch.tensor(rng.normal(size=(batch, beams, vocab))), -1).float()
    running = -rng.random((batch, beams)).astype(np.float32)
    accumulated = (log_probs + torch.tensor(running)[:, :, None]).reshape(batch, -1)
    kept = max(2, 1 + len(eos)) * beams
    nothing = torch.zeros(batch, beams, length + 1, dtype=torch.long)
    steps = []
    with draws.seeded_multinomial(seed, batch, beams, vocab):
        for step in range(3):
            expected, sequences, indices = GenerationMixin()._get_top_k_continuations(
                accumulated, nothing, nothing, length, 0, True, kept, beams,
                batch_size=batch, vocab_size=vocab,
            )  # fmt: skip
            found = sampled(log_probs.numpy(), running, np.array(eos, np.int64), [seed], step)
            if installed_rules().draws_are_sorted:
                found = run(later_rules.best_first, *found)
            scores, drawn, parents, own = found
            assert np.array_equal(drawn, sequences[:, :, length].numpy())
            offset = np.arange(batch)[:, None] * beams
            assert np.array_equal(parents + offset, indices[:, :, length].numpy())
            assert np.array_equal(scores, expected.numpy())
            rows = np.arange(batch)[:, None]
            assert np.array_equal(own, log_probs.numpy()[rows, parents, drawn])
            steps.append(drawn.tolist())
    assert steps[0] != steps[1] != steps[2]


def test_the_first_continuations_are_of_the_prompt() -> None:
    # one list for all beams, of which all but the first start at -1e9
    log_probs = np.repeat(LOG_PROBS[:1, None], 3, axis=0)
    scores, drawn, beams, own = sampled(
        log_probs, np.array([[0.0, -1e9]] * 3, np.float32), NO_EOS, [5]
    )
    assert drawn.shape == (3, 4)
    # the three tokens there are come first
    assert (beams[:, :3] == 0).all()
    assert np.array_equal(np.sort(drawn[:, :3]), [[0, 1, 2]] * 3)
    assert (beams[:, 3] == 1).all()
    np.testing.assert_array_equal(scores[:, :3], own[:, :3])
    np.testing.assert_array_equal(own, LOG_PROBS[0][drawn])
    assert (scores[:, 3] < -1e8).all()


def test_continuations_name_the_tokens_of_short_lists() -> None:
    log_probs = np.log([[[0.7, 0.3], [0.6, 0.4]]]).astype(np.float32)
    token_ids = np.array([[[9, 4], [4, 8]]])
    scores, drawn, beams, own = sampled(
        log_probs, np.array([[0.0, -1.0]], np.float32), NO_EOS, [1], token_ids=token_ids
    )
    by_place = {(0, 9): 0.7, (0, 4): 0.3, (1, 4): 0.6, (1, 8): 0.4}
    found = list(zip(beams[0].tolist(), drawn[0].tolist(), strict=True))
    assert set(found) == set(by_place)
    np.testing.assert_allclose(own[0], np.log([by_place[place] for place in found]), rtol=1e-6)
    np.testing.assert_allclose(scores[0], own[0] - beams[0], rtol=1e-6)
