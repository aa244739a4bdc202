"""Processors, top-p filter and draws of ONNX Runtime's operators, in NumPy alone.

Letters: B batch, K beams, V vocabulary.

Source: ``onnxruntime/contrib_ops/cpu/transformers``: ``logits_processor.cc``,
``sampling_cpu_helper.h``; ``MultinomialComputeShared`` of
``core/providers/cpu/generator/random.cc``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from beamgen.settings.config import ResolvedSearch
from beamgen.settings.contrib_inputs import attributes, inputs
from beamgen.settings.prompts import Ids

Floats = npt.NDArray[np.float32]

#: What the operators put where a token may not come: ``numeric_limits::lowest()``.
LOWEST = np.finfo(np.float32).min


def processed(
    scores: Floats, sequences: Ids, config: ResolvedSearch, prompt_len: int, vocab_size: int
) -> Floats:
    """Scores ``[B*K, V]`` after all processors: ``LogitsProcessorList::Process``."""
    given = inputs(config, prompt_len, vocab_size)
    fixed = attributes(config, vocab_size)
    scores = scores.copy()
    penalty, ngram = given["repetition_penalty"][0], int(fixed["no_repeat_ngram_size"])
    for row, text in zip(scores, sequences, strict=True):
        seen = np.unique(text)
        if penalty != 1:
            row[seen] = np.where(row[seen] < 0, row[seen] * penalty, row[seen] / penalty)
        row[_ending_an_ngram(text.tolist(), ngram)] = LOWEST
    scores[:, given["vocab_mask"] == 0] = LOWEST
    if sequences.shape[1] == prompt_len:
        scores[:, given["prefix_vocab_mask"][0] == 0] = LOWEST
    if sequences.shape[1] < given["min_length"][0]:
        scores[:, int(fixed["eos_token_id"])] = LOWEST
    temperature = np.float32(fixed.get("temperature", 1.0))
    with np.errstate(over="ignore"):  # what is banned already
        return scores if temperature == 1 else scores / temperature


def _ending_an_ngram(text: list[int], size: int) -> list[int]:
    """Tokens that would complete an n-gram that the text holds already."""
    if not 0 < size <= len(text):
        return []
    prefix = text[len(text) - size + 1 :]
    starts = range(len(text) - size + 1)
    return [text[i + size - 1] for i in starts if text[i : i + size - 1] == prefix]


def top_p_filtered(scores: Floats, top_p: float) -> Floats:
    """The least likely tokens, of 1 - top_p in all, become -inf: ``cumulate_and_filter``."""
    order = np.argsort(scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    exponentials = np.exp(ranked - ranked[:, -1:])
    total = np.cumsum(exponentials / exponentials.sum(axis=1, keepdims=True), axis=1)
    removed = total <= np.float32(1 - np.float32(top_p))
    removed[:, -1] = False  # min_tokens_to_keep is 1
    filtered = scores.copy()
    np.put_along_axis(filtered, order, np.where(removed, -np.inf, ranked), axis=1)
    return filtered


def draw(scores: Floats, uniform: float) -> int:
    """The token at which summed exponentials pass a number: ``MultinomialComputeShared``."""
    total = np.cumsum(np.exp(scores.astype(np.float64) - scores.max()))
    return int(np.searchsorted(total, uniform * total[-1], side="right"))


def uniform_numbers(seed: int) -> Iterator[float]:
    """Numbers of ``uniform_real_distribution<double>`` over ``std::default_random_engine``.

    As libstdc++ has them, with which ONNX Runtime's Linux builds are made: the engine
    is ``minstd_rand0``, and a number takes two of its draws. Other standard libraries
    have other engines.

    Source: C++ standard [rand.eng.lcong]; libstdc++ ``generate_canonical``.
    """
    modulus, choices = 2**31 - 1, 2**31 - 2
    state = seed % modulus or 1
    while True:
        first = state = state * 16807 % modulus
        second = state = state * 16807 % modulus
        yield ((first - 1) + (second - 1) * choices) / choices**2
