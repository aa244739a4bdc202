"""Tokens of times, against HF's class."""

from __future__ import annotations

import numpy as np
import pytest
from support.onnx_functions import run
from support.scores import INF, NOTHING, B, N, V, by_hf, compiled, ids, odd_scores, random_logits
from transformers import GenerationConfig
from transformers.generation import logits_process as hf

PROMPT = 3
EOS, NO_TIMES = 8, 11  # text before the one, times behind the other


def _run(scores: np.ndarray, history: np.ndarray, *, latest: np.ndarray = NOTHING) -> np.ndarray:
    generated = [history.shape[2] - PROMPT]
    (found,) = run(
        compiled.return_timestamps, scores, history, generated, [1], ids(NO_TIMES), latest, [EOS]
    )
    return found


def _hf(latest: int | None = None) -> hf.WhisperTimeStampLogitsProcessor:
    config = GenerationConfig(
        eos_token_id=EOS, no_timestamps_token_id=NO_TIMES, max_initial_timestamp_index=latest
    )
    return hf.WhisperTimeStampLogitsProcessor(config, begin_index=PROMPT)


def _history(*generated: int) -> np.ndarray:
    return np.broadcast_to([5, 17, 6, *generated], (B, N, PROMPT + len(generated)))


@pytest.mark.parametrize("scale", [0.3, 1.0, 6.0])
@pytest.mark.parametrize("length", range(6))
def test_times_equal_hf_after_anything(length: int, scale: float) -> None:
    """Histories of times, text and both, decreasing times too; scores that are one-sided or not."""
    rng, rows = np.random.default_rng(length), 60
    every = np.concatenate([np.arange(V), np.arange(NO_TIMES + 1, V)])
    history = rng.choice(every, size=(rows, N, PROMPT + length))
    scores = scale * rng.normal(size=(rows, N, V)).astype(np.float32)
    scores[..., NO_TIMES + 1 :] += 2 * rng.normal(size=(rows, N, 1)).astype(np.float32)
    expected = by_hf(_hf(), history, scores)
    assert np.array_equal(_run(scores, history), expected)
    banned = np.isneginf(expected).sum(axis=-1)
    kinds = 1 if length == 0 else 3  # of what is banned: the first is always a time
    assert len(np.unique(banned)) >= kinds


@pytest.mark.parametrize("latest", [0, 2, 50])
def test_the_first_time_is_no_later_than_it_may_be(latest: int) -> None:
    scores = random_logits()
    found = _run(scores, _history(), latest=ids(latest))
    assert np.array_equal(found, by_hf(_hf(latest), _history(), scores))
    allowed = np.flatnonzero(np.isfinite(found[0, 0]))
    assert allowed.tolist() == [*range(NO_TIMES + 1, min(NO_TIMES + 2 + latest, V))]
    later = _run(scores, _history(13, 4), latest=ids(latest))
    assert np.array_equal(later, _run(scores, _history(13, 4)))


def test_a_pair_is_closed_before_text_goes_on() -> None:
    scores = np.zeros((B, N, V), np.float32)
    scores[..., 2] = 20.0  # text is likeliest by far
    first, last = NO_TIMES + 1, V - 1
    after_pair = _run(scores, _history(13, 4, 15, 15))
    assert np.isneginf(after_pair[..., first:]).all()
    after_one = _run(scores, _history(13, 4, 15))
    assert np.isneginf(after_one[..., :EOS]).all()
    assert np.isneginf(after_one[..., first:15]).all()
    assert np.isneginf(after_one[..., 15 : last + 1]).sum() == 0
    after_text = _run(scores, _history(13, 4))
    assert np.isneginf(after_text[..., first:14]).all()
    assert not np.isneginf(after_text[..., 14:]).any()


def test_times_together_go_before_a_likelier_token_of_text() -> None:
    scores = np.zeros((B, N, V), np.float32)
    scores[..., 2] = 1.0  # of V tokens, fewer than eight of them times
    found = _run(scores, _history(13, 4))
    assert np.array_equal(found, by_hf(_hf(), _history(13, 4), scores))
    assert np.isneginf(found[..., : NO_TIMES + 1]).all()
    scores[..., 2] = 3.0
    assert np.isfinite(_run(scores, _history(13, 4))[..., 2]).all()


def test_where_nothing_is_left_nothing_comes_back() -> None:
    scores = np.full((B, N, V), -INF, np.float32)
    found = _run(scores, _history(13, 4))
    assert np.isneginf(found).all()


def test_off_it_changes_no_bit() -> None:
    scores, history = odd_scores(), _history(13, 4)
    (found,) = run(
        compiled.return_timestamps, scores, history, [2], [0], ids(NO_TIMES), NOTHING, [EOS]
    )
    assert found.tobytes() == scores.tobytes()
