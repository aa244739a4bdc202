"""Which tokens go on: the scores of a step are processed, then the best taken or some drawn.

All of it stands behind one condition, so that a step in which nothing is on does
no more than take the best.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from beamgen.search.functions import (
    beam_search,
    later_rules,
    one_beam,
    processors,
    random_numbers,
)
from beamgen.search.processing import processed, renormalized, warped
from beamgen.search.state import Step
from beamgen.tape import Results, Tape


@dataclass(frozen=True)
class Chosen:
    """Continuations: in beam search M of them, with one beam the next token of each chain."""

    scores: ir.Value  # float [B, M], accumulated; with one beam as log_probs
    tokens: ir.Value  # int64 [B, M]
    beams: ir.Value  # int64 [B, M]
    log_probs: ir.Value  # float [B, M], of the tokens alone


def choose(tape: Tape, step: Step, scores: ir.Value) -> Chosen:
    """Process the scores ``[B, n, V]`` if anything is on, then take the best or draw."""
    settings = step.settings

    def chosen_after_processing(side: Tape) -> Results:
        changed = processed(side, step, scores)
        return side.branch(
            settings["sampling"],
            lambda inner: _drawn(inner, step, changed),
            lambda inner: _best(inner, step, renormalized(inner, changed, settings)),
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
        chosen_after_processing,
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
    listed, listed_ids = warped(tape, scores, settings)
    log_probs, ids, accumulated, perturbed = tape.call(
        random_numbers.perturbed_candidates,
        listed,
        listed_ids,
        step.state.running_scores,
        settings["one_beam"],
        settings["seed"],
        step.generated_len,
    )

    def one(side: Tape) -> Results:
        drawn = side.call(random_numbers.draw_one, log_probs, ids, perturbed)
        sure = side.value(one_beam.only_of_numbers, drawn.chosen_log_probs, scores)
        return Results(
            chosen_scores=sure,
            chosen_tokens=drawn.chosen_tokens,
            chosen_beams=drawn.chosen_beams,
            chosen_log_probs=sure,
        )

    def several(side: Tape) -> Results:
        sorts = step.rules.draws_are_sorted
        drawn = (side.section(f"{side.prefix}/drawn") if sorts else side).call(
            random_numbers.sample_top_k_continuations,
            log_probs,
            ids,
            accumulated,
            perturbed,
            settings["eos_token_id"],
        )
        return side.call(later_rules.best_first, *drawn) if sorts else drawn

    return tape.branch(
        settings["one_beam"],
        one,
        several,
        sides=("one", "several"),
    )
