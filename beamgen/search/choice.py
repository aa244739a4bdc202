"""Which tokens go on: the scores of a step are processed, then the best taken or some drawn.

All of it stands behind one condition, so that a step in which nothing is on does
no more than take the best.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from beamgen.search.functions import (
    beam_search,
    catalogue,
    one_beam,
    processors,
    random_numbers,
    warpers,
)
from beamgen.search.state import Settings, Step
from beamgen.tape import Results, Tape


@dataclass(frozen=True)
class Chosen:
    """What goes on: in beam search M continuations, with one beam the next token of each chain."""

    scores: ir.Value  # float [B, M], accumulated; with one beam as log_probs
    tokens: ir.Value  # int64 [B, M]
    beams: ir.Value  # int64 [B, M]
    log_probs: ir.Value  # float [B, M], of the tokens alone


def choose(tape: Tape, step: Step, scores: ir.Value) -> Chosen:
    """Process the scores ``[B, n, V]`` if anything is on, then take the best or draw."""
    settings = step.settings

    def processed(side: Tape) -> Results:
        changed = _processed(side, step, scores)
        return side.branch(
            settings["sampling"],
            lambda inner: _drawn(inner, step, changed),
            lambda inner: _best(inner, step, _renormalized(inner, changed, settings)),
            sides=("sampling", "best"),
        )

    on = tape.value(
        processors.have_work,
        settings["in_use"],
        settings["min_new_tokens"],
        step.generated_len,
    )
    chosen = tape.branch(
        on,
        processed,
        lambda side: _best(side, step, scores),
        sides=("processing", "plain"),
    )
    return Chosen(*chosen)


def _best(tape: Tape, step: Step, scores: ir.Value) -> Results:
    state, eos = step.state, step.settings["eos_token_id"]
    return tape.branch(
        step.settings["one_beam"],
        lambda side: side.call(one_beam.take_best, scores),
        lambda side: side.call(
            beam_search.get_top_k_continuations, scores, state.running_scores, eos
        ),
        sides=("argmax", "top_k"),
    )


def _drawn(tape: Tape, step: Step, scores: ir.Value) -> Results:
    settings = step.settings
    listed, listed_ids = _warped(tape, scores, settings)
    log_probs, ids, accumulated, perturbed = tape.call(
        random_numbers.perturbed_candidates,
        listed,
        listed_ids,
        step.state.running_scores,
        settings["one_beam"],
        settings["seed"],
        step.generated_len,
    )

    def several(side: Tape) -> Results:
        return side.call(
            random_numbers.sample_top_k_continuations,
            log_probs,
            ids,
            accumulated,
            perturbed,
            settings["eos_token_id"],
        )

    return tape.branch(
        settings["one_beam"],
        lambda side: side.call(random_numbers.draw_one, log_probs, ids, perturbed),
        several,
        sides=("one", "several"),
    )


def _processed(tape: Tape, step: Step, scores: ir.Value) -> ir.Value:
    """All processors up to the warpers, in HF's order, on ``[B, n, V]``."""
    settings, generated_len = step.settings, step.generated_len
    eos = settings["eos_token_id"]
    history = tape.value(
        processors.token_history,
        scores,
        step.input_ids,
        step.state.running_tokens,
    )
    for function, inputs in (
        (
            processors.sequence_bias,
            [history, settings["sequence_bias_ids"], settings["sequence_bias"]],
        ),
        (processors.repetition_penalty, [history, settings["repetition_penalty"]]),
        (processors.no_repeat_ngram, [history, settings["no_repeat_ngram_size"]]),
        (processors.bad_words, [history, settings["bad_words_ids"], eos]),
        (processors.min_new_tokens, [generated_len, eos, settings["min_new_tokens"]]),
        (
            catalogue.within_catalogue,
            [step.state.node, settings["catalogue_offsets"], settings["catalogue_tokens"], eos],
        ),
        (processors.forced_bos, [history, settings["forced_bos_token_id"]]),
        (
            processors.forced_eos,
            [generated_len, settings["forced_eos_token_id"], settings["max_new_tokens"]],
        ),
        (processors.remove_invalid_values, [settings["remove_invalid_values"]]),
        (
            processors.exponential_decay_length,
            [generated_len, settings["exponential_decay_length_penalty"], eos],
        ),
        (processors.suppress_tokens, [settings["suppress_tokens"]]),
        (
            processors.begin_suppress_tokens,
            [
                history,
                generated_len,
                settings["begin_suppress_tokens"],
                settings["forced_bos_token_id"],
            ],
        ),
    ):
        scores = tape.value(function, scores, *inputs)
    return scores


def _warped(tape: Tape, scores: ir.Value, settings: Settings) -> tuple[ir.Value, ir.Value]:
    """Scores ``[B, n, V]`` -> candidates' scores and token ids ``[B, n, N]``."""
    to_keep = settings["min_tokens_to_keep"]
    scores = tape.value(warpers.temperature, scores, settings["temperature"])
    scores, ids = _likeliest(tape, *_best_tokens(tape, scores, settings), settings)
    for function in (
        warpers.min_p,
        warpers.typical_p,
        warpers.epsilon_cutoff,
        warpers.eta_cutoff,
    ):
        scores = tape.value(function, scores, settings[function.name], to_keep)
    return _renormalized(tape, scores, settings), ids


def _best_tokens(tape: Tape, scores: ir.Value, settings: Settings) -> tuple[ir.Value, ir.Value]:
    """``top_k`` -> scores and token ids ``[B, n, N]``."""
    top_k = settings["top_k"]
    on = tape.value(warpers.top_k_in_use, top_k)

    def shortened(side: Tape) -> Results:
        best, ids = side.call(warpers.top_k, scores, top_k, settings["min_tokens_to_keep"])
        return Results(after_top_k=best, top_k_ids=ids)

    def whole(side: Tape) -> Results:
        return Results(after_top_k=scores, top_k_ids=side.value(warpers.all_tokens, scores))

    listed, ids = tape.branch(on, shortened, whole, sides=("top_k", "all"))
    return listed, ids


def _likeliest(
    tape: Tape, scores: ir.Value, ids: ir.Value, settings: Settings
) -> tuple[ir.Value, ir.Value]:
    """``top_p`` -> scores and token ids ``[B, n, N]``, a shorter N where it is on."""
    top_p = settings["top_p"]
    on = tape.value(warpers.top_p_in_use, top_p)

    def shortened(side: Tape) -> Results:
        best, kept = side.call(warpers.top_p, scores, ids, top_p, settings["min_tokens_to_keep"])
        return Results(after_top_p=best, top_p_ids=kept)

    def whole(side: Tape) -> Results:
        return Results(after_top_p=scores, top_p_ids=ids)

    listed, kept = tape.branch(on, shortened, whole, sides=("top_p", "whole"))
    return listed, kept


def _renormalized(tape: Tape, scores: ir.Value, settings: Settings) -> ir.Value:
    return tape.value(processors.renormalize, scores, settings["renormalize_logits"])
