"""One step of the search: logits become the next running sequences.

Two ways, as HF has two methods: ``_sample`` with one beam, ``_beam_search`` with
several. In either, scores go through the logits processors only where one is on.
"""

from __future__ import annotations

import onnx_ir as ir

from beamgen.search.choice import Chosen, choose
from beamgen.search.functions import beam_search, catalogue, one_beam
from beamgen.search.state import STATE_TYPES, Settings, State, Step
from beamgen.tape import Tape

#: What a search can be retold from, besides the state; see ``beamgen.runtime.trace``.
_TOLD = "top_scores top_tokens top_beams running_index finished_index"
_RESULTS = f"go_on {' '.join(STATE_TYPES)} parents {_TOLD}"


def search_step(
    tape: Tape, logits: ir.Value, input_ids: ir.Value, state: State, settings: Settings
) -> tuple[ir.Value, State, ir.Value]:
    """Logits ``[B, K or 1, V]`` -> go on?, the next state, the beams' parents ``[B, K]``."""
    generated_len, cur_len = tape.call(
        beam_search.current_length, state.running_tokens, outputs="generated_len cur_len"
    )
    step = Step(input_ids, state, settings, generated_len, cur_len)
    (scores,) = tape.branch(
        settings["one_beam"],
        lambda side: [logits],
        lambda side: [side.standard("LogSoftmax", logits, output="log_softmax", axis=-1)],
        names=("logits", "log_probs"),
        outputs="token_scores",
    )
    chosen = choose(tape, step, scores)
    go_on, *results = tape.branch(
        settings["one_beam"],
        lambda side: _sample(side, step, chosen),
        lambda side: _beam_search(side, step, chosen),
        names=("one_beam", "beam_search"),
        outputs=_RESULTS,
    )
    return go_on, State(*results[: len(STATE_TYPES)]), results[len(STATE_TYPES)]


def _beam_search(tape: Tape, step: Step, chosen: Chosen) -> list[ir.Value]:
    """``GenerationMixin._beam_search``, from the continuations on."""
    state, settings = step.state, step.settings
    eos, early = settings["eos_token_id"], settings["early_stopping"]
    scores, tokens, beams = chosen.scores, chosen.tokens, chosen.beams
    (hits,) = tape.call(
        beam_search.hits_stopping_criteria,
        tokens,
        step.cur_len,
        eos,
        settings["max_new_tokens"],
        outputs="hits",
    )
    running_scores, running_index = tape.call(
        beam_search.get_running_beams_for_next_iteration,
        scores,
        hits,
        settings["running"],
        outputs="running_scores running_index",
    )
    finished_scores, finished, finished_index = tape.call(
        beam_search.update_finished_beams,
        state.finished_scores,
        state.is_sent_finished,
        scores,
        hits,
        state.unsatisfied,
        step.cur_len,
        settings["length_penalty"],
        early,
        outputs="finished_scores is_sent_finished finished_index",
    )
    finished_lengths, parents = tape.call(
        beam_search.extend_lengths,
        state.finished_lengths,
        step.cur_len,
        beams,
        running_index,
        finished_index,
        outputs="finished_lengths parents",
    )
    (numbered,) = tape.call(
        beam_search.numbered_in_batch, beams, state.running_tokens, outputs="numbered"
    )
    kept = {
        name: tape.call(
            beam_search.extend_sequences,
            running,
            held,
            new,
            fill,
            beams,
            running_index,
            finished_index,
            outputs=f"running_{name} finished_{name}",
        )
        for name, running, held, new, fill in _per_token(
            tape, step, tokens, chosen.log_probs, numbered
        )
    }
    (unsatisfied,) = tape.call(
        beam_search.check_early_stop_heuristic,
        state.unsatisfied,
        running_scores,
        finished_scores,
        finished,
        step.cur_len,
        settings["max_new_tokens"],
        settings["length_penalty"],
        early,
        outputs="unsatisfied",
    )
    (go_on,) = tape.call(
        beam_search.beam_search_has_unfinished_sequences,
        unsatisfied,
        finished,
        hits,
        early,
        outputs="go_on",
    )
    (last,) = tape.call(beam_search.last_tokens, kept["tokens"][0], outputs="last_tokens")
    after = State(
        **{f"running_{name}": running for name, (running, _) in kept.items()},
        **{f"finished_{name}": finished for name, (_, finished) in kept.items()},
        running_scores=running_scores,
        finished_scores=finished_scores,
        finished_lengths=finished_lengths,
        is_sent_finished=finished,
        unsatisfied=unsatisfied,
        node=_next_nodes(tape, step, parents, last),
    )
    told = [scores, tokens, beams, running_index, finished_index]
    return [go_on, *after.values(), parents, *told]


def _sample(tape: Tape, step: Step, chosen: Chosen) -> list[ir.Value]:
    """``GenerationMixin._sample``, from the next tokens on: every chain keeps its place."""
    state, settings = step.state, step.settings
    tokens, log_probs, numbered, scores, lengths, finished, go_on = tape.call(
        one_beam.update_chains,
        chosen.tokens,
        chosen.log_probs,
        state.running_scores,
        state.finished_lengths,
        state.is_sent_finished,
        step.cur_len,
        settings["eos_token_id"],
        settings["max_new_tokens"],
        settings["fill_token_id"],
        outputs="tokens log_probs numbered scores finished_lengths is_sent_finished go_on",
    )
    chain = chosen.beams
    kept = {
        name: tape.standard("Concat", running, new, output=f"running_{name}", axis=2)
        for name, running, _, new, _ in _per_token(tape, step, tokens, log_probs, numbered)
    }
    after = State(
        **{f"running_{name}": sequences for name, sequences in kept.items()},
        **{f"finished_{name}": sequences for name, sequences in kept.items()},
        running_scores=scores,
        finished_scores=scores,
        finished_lengths=lengths,
        is_sent_finished=finished,
        unsatisfied=state.unsatisfied,
        node=_next_nodes(tape, step, chain, tokens),
    )
    return [go_on, *after.values(), chain, scores, tokens, chain, chain, chain]


def _per_token(
    tape: Tape, step: Step, tokens: ir.Value, log_probs: ir.Value, numbered: ir.Value
) -> list[tuple[str, ir.Value, ir.Value, ir.Value, ir.Value]]:
    """What is kept of every token: name, running, finished, new ``[B, n, w]``, fill ``[1]``."""
    state, settings = step.state, step.settings
    (new_tokens,) = tape.call(
        beam_search.on_request, tokens, settings["always"], outputs="new_tokens"
    )
    new_log_probs, new_indices = (
        tape.call(beam_search.on_request, values, settings["output_scores"], outputs=f"new_{name}")[
            0
        ]
        for name, values in (("log_probs", log_probs), ("beam_indices", numbered))
    )
    return [
        (
            "tokens",
            state.running_tokens,
            state.finished_tokens,
            new_tokens,
            settings["fill_token_id"],
        ),
        (
            "log_probs",
            state.running_log_probs,
            state.finished_log_probs,
            new_log_probs,
            settings["no_log_prob"],
        ),
        (
            "beam_indices",
            state.running_beam_indices,
            state.finished_beam_indices,
            new_indices,
            settings["no_beam"],
        ),
    ]


def _next_nodes(tape: Tape, step: Step, parents: ir.Value, tokens: ir.Value) -> ir.Value:
    settings = step.settings
    return tape.call(
        catalogue.next_nodes,
        step.state.node,
        parents,
        tokens,
        settings["catalogue_offsets"],
        settings["catalogue_tokens"],
        settings["catalogue_next"],
        outputs="node",
    )[0]
