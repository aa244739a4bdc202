"""What hangs on lengths, and what changes the whole distribution, against HF's classes."""

from __future__ import annotations

import numpy as np
import pytest
from support.onnx_functions import run
from support.scores import (
    INF,
    NOTHING,
    B,
    N,
    V,
    by_hf,
    compiled,
    ids,
    odd_scores,
    random_history,
    random_logits,
    random_scores,
)
from transformers import GenerationConfig
from transformers.generation import GenerationMixin
from transformers.generation import logits_process as hf

# -- lengths


@pytest.mark.parametrize("eos", [[2], [2, 5], [2, 5, 19], []])
def test_min_new_tokens_equals_hf(eos: list[int]) -> None:
    prompt_len, generated, shortest = 4, 3, [0, 3, 4, 9]
    scores, history = random_scores(banned=0)[:1], random_history(prompt_len + generated)[:1]
    (found,) = run(
        compiled.min_new_tokens, np.repeat(scores, 4, 0), [generated], ids(*eos), shortest
    )
    for row, least in enumerate(shortest):
        expected = scores
        if eos:
            new = hf.MinNewTokensLengthLogitsProcessor(prompt_len, least, eos)
            total = hf.MinLengthLogitsProcessor(prompt_len + least, eos)
            expected = by_hf(new, history, scores)
            assert np.array_equal(expected, by_hf(total, history, scores))
        assert np.array_equal(found[row], expected[0])
        assert np.isinf(found[row]).any() == (bool(eos) and least > generated)


@pytest.mark.parametrize("length", [1, 2])
def test_forced_bos_equals_hf(length: int) -> None:
    scores, history = odd_scores(), random_history(length)
    (found,) = run(compiled.forced_bos_token_id, scores, history, [4])
    expected = by_hf(hf.ForcedBOSTokenLogitsProcessor(4), history, scores)
    assert np.array_equal(found, expected, equal_nan=True)
    assert (found[..., 4] == 0).all() == (length == 1)


def test_each_row_has_a_forced_bos_of_its_own() -> None:
    scores, history = odd_scores(), random_history(1)
    (found,) = run(compiled.forced_bos_token_id, scores, history, [7, -1])
    expected = by_hf(hf.ForcedBOSTokenLogitsProcessor(7), history[:1], scores[:1])
    assert np.array_equal(found[:1], expected, equal_nan=True)
    assert found[1].tobytes() == scores[1].tobytes()


@pytest.mark.parametrize("forced", [[2], [2, 7, 19]])
@pytest.mark.parametrize("generated", [0, 3, 4, 5])
def test_forced_eos_equals_hf(generated: int, forced: list[int]) -> None:
    prompt_len, longest = 3, 5
    scores, history = odd_scores(), random_history(prompt_len + generated)
    (found,) = run(compiled.forced_eos_token_id, scores, [generated], forced, [longest])
    processor = hf.ForcedEOSTokenLogitsProcessor(prompt_len + longest, forced)
    assert np.array_equal(found, by_hf(processor, history, scores), equal_nan=True)
    assert np.isneginf(found[..., 5]).all() == (generated == longest - 1)


@pytest.mark.parametrize("eos", [[2], [2, 5, 9]])
def test_exponential_decay_equals_hf(eos: list[int]) -> None:
    prompt_len = 3
    scores = np.concatenate([random_scores(banned=0)[:1], random_logits()[:1]])
    for (start, factor), generated in [
        ((2, 1.5), 2),
        ((2, 1.5), 3),
        ((2, 1.5), 9),
        ((1, 1.01), 60),
        ((1, 0.5), 4),
        ((1, 1.0), 4),
    ]:
        history = random_history(prompt_len + generated)
        (found,) = run(
            compiled.exponential_decay_length_penalty,
            scores,
            [generated],
            [float(start), factor],
            eos,
        )
        processor = hf.ExponentialDecayLengthPenalty((start, factor), eos, prompt_len)
        # 1.01 as a float32 input is not quite Python's 1.01
        np.testing.assert_allclose(found, by_hf(processor, history, scores), rtol=1e-5, atol=1e-7)
        others = np.delete(np.arange(V), eos)
        assert np.array_equal(found[..., others], scores[..., others])
        assert np.array_equal(found, scores) == (generated <= start or factor == 1)


@pytest.mark.parametrize("factor", [1.5, 0.5])
def test_an_eos_that_may_not_come_does_not_decay(factor: float) -> None:
    scores = random_scores(banned=0)
    scores[0, :, 2] = -INF
    (found,) = run(compiled.exponential_decay_length_penalty, scores, [4], [1.0, factor], [2, 5])
    assert np.isneginf(found[0, :, 2]).all()
    assert not np.isnan(found).any()
    assert (found[1, :, 2] != scores[1, :, 2]).all()


# -- bans


@pytest.mark.parametrize("tokens", [[4], [0, 7, 7, 19]])
def test_suppress_tokens_equals_hf(tokens: list[int]) -> None:
    scores = random_scores()
    (found,) = run(compiled.suppress_tokens, scores, tokens)
    processor = hf.SuppressTokensLogitsProcessor(tokens)
    assert np.array_equal(found, by_hf(processor, random_history(3), scores))


def test_begin_suppress_tokens_comes_later_in_rows_with_a_forced_bos() -> None:
    scores = random_scores(banned=0)
    for generated, banned in ((0, [False, True]), (1, [True, False]), (2, [False, False])):
        (found,) = run(
            compiled.begin_suppress_tokens,
            scores,
            random_history(1 + generated),
            [generated],
            [3, 8],
            [6, -1],
        )
        assert np.isneginf(found[..., [3, 8]]).all(axis=(1, 2)).tolist() == banned
        assert np.isfinite(np.delete(found, [3, 8], axis=2)).all()


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("forced_bos", [None, 6])
@pytest.mark.parametrize("prompt_len", [1, 2, 5])
def test_begin_suppress_tokens_equals_hf(
    prompt_len: int, forced_bos: int | None, empty: bool
) -> None:
    # with HF's own rule for where a sequence begins
    config = GenerationConfig(begin_suppress_tokens=[3, 8], forced_bos_token_id=forced_bos)
    processor = GenerationMixin()._get_logits_processor(config, prompt_len)[-1]
    scores, begins = random_scores(banned=0), []
    for generated in range(3):
        history = random_history(prompt_len + generated)
        (found,) = run(
            compiled.begin_suppress_tokens,
            scores,
            history,
            [generated],
            [3, 8],
            (NOTHING if empty else [-1]) if forced_bos is None else [forced_bos],
        )
        assert np.array_equal(found, by_hf(processor, history, scores))
        begins.append(bool(np.isinf(found).any()))
    later = prompt_len == 1 and forced_bos is not None
    assert begins == [not later, later, False]


# -- the whole distribution


def test_remove_invalid_values_equals_hf() -> None:
    scores = odd_scores()
    (found,) = run(compiled.remove_invalid_values, scores, [1])
    expected = by_hf(hf.InfNanRemoveLogitsProcessor(), random_history(3), scores)
    assert np.array_equal(found, expected)
    assert np.isfinite(found).all()


def test_renormalize_equals_hf() -> None:
    scores = random_logits()
    scores[:, 1, ::2] = -INF
    scores[:, 2, 1:] = -INF
    (found,) = run(compiled.renormalize_logits, scores, [1])
    expected = by_hf(hf.LogitNormalization(), random_history(3), scores)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.exp(found).sum(-1), 1, atol=1e-6)


def test_where_every_token_is_banned_all_stay_banned() -> None:
    scores = random_logits()
    scores[1, 2] = -INF
    (found,) = run(compiled.renormalize_logits, scores, [1])
    assert np.isneginf(found[1, 2]).all()
    assert np.isfinite(np.delete(found.reshape(-1, V), B * N - 1, axis=0)).all()
