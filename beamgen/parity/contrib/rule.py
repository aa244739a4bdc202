"""The searches of ONNX Runtime's operators: a small NumPy model to compare them with.

It does what the operators do, also where that differs from HF: scores are divided by
a power of prompt plus generated length, without the EOS; an EOS hypothesis and open
beams meet at the last step by other rules; and in a batch, a row's stop test reads
its neighbours' scores. ``docs/contrib-op.md`` tells each difference.

Letters: B batch, K beams, T tokens so far (prompt and padding included), V vocabulary,
R returned.

Source: ``onnxruntime/contrib_ops/cpu/transformers``: ``beam_search_scorer.cc``
(``BeamHypotheses``, ``BeamSearchScorer``), ``beam_search_impl_gpt.h``
(``BeamSearchGpt::Execute``), ``greedy_search_impl_gpt.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from beamgen.parity.contrib.rule_scores import Floats, draw, top_p_filtered, uniform_numbers
from beamgen.runtime.trace import RowStep, SearchTrace, Tokens, alive
from beamgen.settings.config import ResolvedSearch
from beamgen.settings.contrib import GREEDY_SEARCH, operator_of
from beamgen.settings.contrib_inputs import attributes, inputs
from beamgen.settings.prompts import Ids


@dataclass
class Beams:
    """The running beams between two steps.

    Attributes:
        sequences: int64 ``[B*K, T]``.
        parents: int64 ``[B*K]``: which beam, of the whole batch, each one continues.
        scores: float32 ``[B*K]``, summed log-probabilities.
    """

    sequences: Ids
    parents: Ids
    scores: Floats


#: Gives a step's scores: of each beam's continuations, float32 ``[B*K, V]``.
StepScores = Callable[[Beams], Floats]


@dataclass(frozen=True)
class RuleAnswer:
    """What an operator returns, and how it got there.

    Attributes:
        sequences: int32 ``[B, R, max_length]``, without EOS and filled with it.
        scores: float32 ``[B, R]``; None of one beam.
        trace: each row's steps, of a search with beams.
    """

    sequences: npt.NDArray[np.int32]
    scores: Floats | None
    trace: SearchTrace


@dataclass
class Hypotheses:
    """The best K hypotheses of a row, best first: ``BeamHypotheses``."""

    capacity: int
    length_penalty: np.float32
    found: list[tuple[Tokens, np.float32]] = field(default_factory=list)

    def add(self, tokens: Tokens, summed: np.float32) -> None:
        """Keep a hypothesis, if it is among the best: its score counts prompt and text."""
        score = self.penalised(summed, len(tokens))
        if len(self.found) == self.capacity:
            if score <= self.found[-1][1]:
                return
            self.found.pop()
        place = len(self.found)
        while place and score > self.found[place - 1][1]:
            place -= 1
        self.found.insert(place, (tokens, score))

    def penalised(self, summed: np.float32, length: int) -> np.float32:
        """A summed log-probability by the operators' length rule."""
        with np.errstate(over="ignore"):
            return np.float32(summed / np.float32(length) ** self.length_penalty)


@dataclass
class _Row:
    hypotheses: Hypotheses
    done: bool = False
    steps: list[RowStep] = field(default_factory=list)


def beam_search(
    step_scores: StepScores, input_ids: Ids, config: ResolvedSearch, vocab_size: int
) -> RuleAnswer:
    """Search as ``BeamSearch`` does: ``BeamSearchGpt::Execute``.

    Args:
        step_scores: processed log-probabilities plus the beams' own scores.
        input_ids: int64 ``[B, S]``.
        config: for this prompt length.
        vocab_size: V.
    """
    batch, prompt_len = input_ids.shape
    beams, given = config.num_beams, inputs(config, prompt_len, vocab_size)
    fixed = attributes(config, vocab_size)
    eos, fill, max_length = fixed["eos_token_id"], fixed["pad_token_id"], given["max_length"][0]
    penalty = given["length_penalty"][0]
    rows = [_Row(Hypotheses(beams, penalty)) for _ in range(batch)]
    running = _first_beams(input_ids, beams)
    while not all(row.done for row in rows) and running.sequences.shape[1] < max_length:
        scores = step_scores(running).reshape(batch, beams * vocab_size)
        top = _top(scores, 2 * beams)  # [B, 2K]
        candidates = np.take_along_axis(scores, top, axis=1)
        # a row that is done goes on as copies of the batch's first beam, with score 0
        parents, tokens = np.zeros_like(running.parents), np.full(batch * beams, fill, np.int64)
        kept_scores = np.zeros_like(running.scores)
        for b, row in enumerate(rows):
            if row.done:
                continue
            kept = _process(row, b, running, top[b], candidates[b], vocab_size, eos)
            own = slice(b * beams, (b + 1) * beams)
            parents[own], tokens[own], kept_scores[own] = zip(*kept, strict=True)
            length = running.sequences.shape[1]
            margin = _stop_margin(candidates, b, row.hypotheses, length)
            row.done = margin is not None and (config.early_stopping is True or margin <= 0)
            row.steps.append(_row_step(row, running, kept, prompt_len, config, margin))
        sequences = np.column_stack([running.sequences[parents], tokens])
        running = Beams(sequences, parents, kept_scores)
    for b, row in enumerate(rows):
        if not row.done:
            for beam in range(b * beams, (b + 1) * beams):
                row.hypotheses.add(tuple(running.sequences[beam].tolist()), running.scores[beam])
            finished = _finished(row, prompt_len, config)
            row.steps[-1] = replace(row.steps[-1], finished=finished)
    returned = config.num_return_sequences
    sequences = np.full((batch, returned, max_length), fill, np.int32)
    answered = np.zeros((batch, returned), np.float32)
    for b, row in enumerate(rows):
        for i, (text, score) in enumerate(row.hypotheses.found[:returned]):
            sequences[b, i, : len(text)] = text
            answered[b, i] = score
    return RuleAnswer(sequences, answered, [row.steps for row in rows])


def _process(
    row: _Row,
    b: int,
    running: Beams,
    top: Ids,
    candidates: Floats,
    vocab_size: int,
    eos: int | float,
) -> list[tuple[int, int, np.float32]]:
    """The K candidates (beam, token, score) of a row that go on: ``BeamSearchScorer::Process``.

    An EOS among the first K becomes a hypothesis, without the EOS.
    """
    beams, kept = len(top) // 2, []
    for rank, (place, score) in enumerate(zip(top, candidates, strict=True)):
        beam, token = b * beams + place // vocab_size, place % vocab_size
        if token != eos:
            kept.append((beam, token, score))
        elif rank < beams:
            row.hypotheses.add(tuple(running.sequences[beam].tolist()), score)
        if len(kept) == beams:
            break
    return kept


def _first_beams(input_ids: Ids, beams: int) -> Beams:
    """K copies of each prompt, of which only the first may be continued."""
    batch = len(input_ids)
    scores = np.full((batch, beams), -1e9, np.float32)
    scores[:, 0] = 0.0
    return Beams(input_ids.repeat(beams, axis=0), np.arange(batch * beams), scores.reshape(-1))


def _top(scores: Floats, count: int) -> Ids:
    """Places of the largest, lower places first among equals: ``[B, count]``."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def _stop_margin(candidates: Floats, b: int, hypotheses: Hypotheses, length: int) -> float | None:
    """By how much the best candidate beats the worst hypothesis; 0 or less stops a row.

    None while there are fewer than K hypotheses.

    ``BeamSearchScorer::Process`` looks for a row's candidates at ``b * K``, where rows
    are 2K wide: beyond the first row they are other rows' as well. EOS candidates count.
    """
    if len(hypotheses.found) < hypotheses.capacity:
        return None
    width = candidates.shape[1]
    window = candidates.reshape(-1)[b * width // 2 :][:width]
    best = hypotheses.penalised(window.max(), length)
    with np.errstate(invalid="ignore"):  # two infinities: nothing can improve
        margin = float(best - hypotheses.found[-1][1])
    return 0.0 if np.isnan(margin) else margin


def _row_step(
    row: _Row,
    before: Beams,
    kept: list[tuple[int, int, np.float32]],
    prompt_len: int,
    config: ResolvedSearch,
    margin: float | None,
) -> RowStep:
    """What a row holds after a step, by generated tokens, the EOS included."""
    running = (
        ((*before.sequences[beam, prompt_len:].tolist(), int(token)), float(score))
        for beam, token, score in kept
    )
    return RowStep(alive(running), _finished(row, prompt_len, config), not row.done, margin)


def _finished(row: _Row, prompt_len: int, config: ResolvedSearch) -> dict[Tokens, float]:
    """A row's hypotheses; what is shorter than max_length has ended with an EOS."""
    max_length = prompt_len + (config.max_new_tokens or 0)
    return {
        (*text[prompt_len:], *(config.eos_token_id if len(text) < max_length else ())): float(score)
        for text, score in row.hypotheses.found
    }


def one_beam(
    step_scores: StepScores, input_ids: Ids, config: ResolvedSearch, vocab_size: int
) -> RuleAnswer:
    """Search as ``GreedySearch`` and ``Sampling`` do: ``GreedySearchGpt::Execute``.

    Args:
        step_scores: processed logits.
        input_ids: int64 ``[B, S]``.
        config: for this prompt length.
        vocab_size: V.
    """
    batch, prompt_len = input_ids.shape
    fixed = attributes(config, vocab_size)
    eos, fill = int(fixed["eos_token_id"]), int(fixed["pad_token_id"])
    max_length = int(inputs(config, prompt_len, vocab_size)["max_length"][0])
    uniform = uniform_numbers(config.seed or 0)
    running = _first_beams(input_ids, 1)
    ended = np.zeros(batch, bool)
    while running.sequences.shape[1] < max_length and not ended.all():
        scores = step_scores(running)
        if operator_of(config) == GREEDY_SEARCH:
            tokens = scores.argmax(axis=1)
        else:
            kept = top_p_filtered(scores, config.top_p)
            tokens = np.array([draw(row, next(uniform)) for row in kept])
        ended |= tokens == eos
        tokens = np.where(ended, fill, tokens)
        running.sequences = np.column_stack([running.sequences, tokens])
    sequences = np.full((batch, 1, max_length), fill, np.int32)
    sequences[:, 0, : running.sequences.shape[1]] = running.sequences
    return RuleAnswer(sequences, None, [])
