"""One step of the search: logits become the next running sequences.

Two ways, as HF has two methods: ``_sample`` with one beam, ``_beam_search`` with
several. In either, scores go through the logits processors only where one is on.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from beamgen.search.choice import Chosen, choose
from beamgen.search.functions import beam_search, constraint, one_beam
from beamgen.search.state import Prompt, Settings, State, Step
from beamgen.settings.automaton import PARTS
from beamgen.settings.rules import Rules
from beamgen.tape import Results, Tape


def search_step(
    tape: Tape, logits: ir.Value, prompt: Prompt, state: State, settings: Settings, rules: Rules
) -> Results:
    """Choose by logits ``[B, K or 1, V]`` how the search goes on.

    Returns: go_on, a scalar; the next state, by the names of its fields; parents ``[B, K]``
    of the next running beams; and what ``beamgen.search.traced`` reads besides: top_scores,
    top_tokens and top_beams, running_index and finished_index.
    """
    generated_len, cur_len = tape.call(beam_search.current_length, state.running_tokens)
    step = Step(prompt, state, settings, rules, generated_len, cur_len)
    (scores,) = tape.branch(
        settings["one_beam"],
        lambda side: Results(token_scores=logits),
        lambda side: Results(
            token_scores=side.standard("LogSoftmax", logits, output="log_softmax", axis=-1)
        ),
        sides=("logits", "log_probs"),
    )
    chosen = choose(tape, step, scores)
    return tape.branch(
        settings["one_beam"],
        lambda side: _sample(side, step, chosen),
        lambda side: _beam_search(side, step, chosen),
        sides=("one_beam", "beam_search"),
    )


def _beam_search(tape: Tape, step: Step, chosen: Chosen) -> Results:
    """``GenerationMixin._beam_search``, from the continuations on."""
    state, settings = step.state, step.settings
    early, longest = settings["early_stopping"], settings["max_new_tokens"]
    stops = _stops(tape, step, chosen.beams, chosen.tokens)
    hits = tape.value(
        beam_search.hits_stopping_criteria,
        chosen.tokens,
        step.cur_len,
        settings["eos_token_id"],
        longest,
        stops.stopped,
    )
    running = tape.call(
        beam_search.get_running_beams_for_next_iteration, chosen.scores, hits, settings["running"]
    )
    finished = tape.call(
        beam_search.update_finished_beams,
        state.finished_scores,
        state.is_sent_finished,
        chosen.scores,
        hits,
        state.unsatisfied,
        step.cur_len,
        settings["length_penalty"],
        early,
    )
    finished_lengths, parents = tape.call(
        beam_search.extend_lengths,
        state.finished_lengths,
        step.cur_len,
        chosen.beams,
        running.running_index,
        finished.finished_index,
    )
    numbered = tape.value(beam_search.numbered_in_batch, chosen.beams, state.running_tokens)
    kept = {
        record.name: tape.section(f"{tape.prefix}/{record.name}").call(
            beam_search.extend_sequences,
            record.running,
            record.finished,
            record.new,
            record.fill,
            chosen.beams,
            running.running_index,
            finished.finished_index,
        )
        for record in _records(tape, step, chosen.tokens, chosen.log_probs, numbered)
    }
    unsatisfied = tape.value(
        beam_search.check_early_stop_heuristic,
        state.unsatisfied,
        running.running_scores,
        finished.finished_scores,
        finished.is_sent_finished,
        step.cur_len,
        longest,
        settings["length_penalty"],
        early,
    )
    go_on = tape.value(
        beam_search.beam_search_has_unfinished_sequences,
        unsatisfied,
        finished.is_sent_finished,
        hits,
        early,
    )
    last = tape.value(beam_search.last_tokens, kept["tokens"].running)
    after = State(
        **{f"running_{name}": sequences.running for name, sequences in kept.items()},
        **{f"finished_{name}": sequences.finished for name, sequences in kept.items()},
        running_scores=running.running_scores,
        finished_scores=finished.finished_scores,
        finished_lengths=finished_lengths,
        is_sent_finished=finished.is_sent_finished,
        unsatisfied=unsatisfied,
        node=_next_nodes(tape, step, parents, last),
        stop_node=tape.standard(
            "GatherElements", stops.after, running.running_index, output="stop_node", axis=1
        ),
    )
    return Results(
        go_on=go_on,
        **vars(after),
        parents=parents,
        top_scores=chosen.scores,
        top_tokens=chosen.tokens,
        top_beams=chosen.beams,
        running_index=running.running_index,
        finished_index=finished.finished_index,
    )


def _sample(tape: Tape, step: Step, chosen: Chosen) -> Results:
    """``GenerationMixin._sample``, from the next tokens on: every chain keeps its place."""
    state, settings = step.state, step.settings
    new_tokens, new_log_probs, new_beam_indices = tape.call(
        one_beam.append_to_chains,
        chosen.tokens,
        chosen.log_probs,
        state.is_sent_finished,
        settings["fill_token_id"],
    )
    stops = _stops(tape, step, chosen.beams, new_tokens)
    chains = tape.call(
        one_beam.update_chains,
        new_tokens,
        new_log_probs,
        state.running_scores,
        state.finished_lengths,
        state.is_sent_finished,
        step.cur_len,
        settings["eos_token_id"],
        settings["max_new_tokens"],
        stops.stopped,
    )
    kept = {
        record.name: tape.standard(
            "Concat", record.running, record.new, output=f"running_{record.name}", axis=2
        )
        for record in _records(tape, step, new_tokens, new_log_probs, new_beam_indices)
    }
    after = State(
        **{f"running_{name}": sequences for name, sequences in kept.items()},
        **{f"finished_{name}": sequences for name, sequences in kept.items()},
        running_scores=chains.scores,
        finished_scores=chains.scores,
        finished_lengths=chains.lengths,
        is_sent_finished=chains.is_finished,
        unsatisfied=state.unsatisfied,
        node=_next_nodes(tape, step, chosen.beams, new_tokens),
        stop_node=stops.after,
    )
    return Results(
        go_on=chains.go_on,
        **vars(after),
        parents=chosen.beams,
        top_scores=chains.scores,
        top_tokens=new_tokens,
        top_beams=chosen.beams,
        running_index=chosen.beams,
        finished_index=chosen.beams,
    )


@dataclass(frozen=True)
class _Record:
    """One thing that is kept of every token: its id, its log-probability or its beam."""

    name: str
    running: ir.Value  # [B, K, t]
    finished: ir.Value  # [B, K, t]
    new: ir.Value  # [B, n, w], w 0 where it is not asked for
    fill: ir.Value  # [1], for hypotheses that have ended


def _records(
    tape: Tape, step: Step, tokens: ir.Value, log_probs: ir.Value, beam_indices: ir.Value
) -> list[_Record]:
    """What is kept of the new tokens ``[B, n]``."""
    state, settings = step.state, step.settings
    new = {
        name: tape.value(beam_search.on_request, values, settings[asked], name=f"kept_{name}")
        for name, values, asked in (
            ("tokens", tokens, "always"),
            ("log_probs", log_probs, "output_scores"),
            ("beam_indices", beam_indices, "output_scores"),
        )
    }
    return [
        _Record(
            "tokens",
            state.running_tokens,
            state.finished_tokens,
            new["tokens"],
            settings["fill_token_id"],
        ),
        _Record(
            "log_probs",
            state.running_log_probs,
            state.finished_log_probs,
            new["log_probs"],
            settings["no_log_prob"],
        ),
        _Record(
            "beam_indices",
            state.running_beam_indices,
            state.finished_beam_indices,
            new["beam_indices"],
            settings["no_beam"],
        ),
    ]


def _next_nodes(tape: Tape, step: Step, parents: ir.Value, tokens: ir.Value) -> ir.Value:
    settings = step.settings
    return tape.value(
        constraint.next_nodes,
        step.state.node,
        parents,
        tokens,
        *(settings[f"constraint_{part}"] for part in PARTS),
    )


def _stops(tape: Tape, step: Step, beams: ir.Value, tokens: ir.Value) -> Results:
    """Whether a stop string has come with tokens ``[B, M]`` of beams, and where they stand."""
    automaton = [step.settings[f"stop_{part}"] for part in PARTS]
    after = tape.value(constraint.stops_after, step.state.stop_node, beams, tokens, *automaton)
    return Results(after=after, stopped=tape.value(constraint.stop_has_come, after, automaton[0]))
