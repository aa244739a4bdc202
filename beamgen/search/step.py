"""One step of the search: logits become the next running sequences.

Two ways, as HF has two methods: ``_sample`` with one beam, ``_beam_search`` with
several. In either, scores go through the logits processors only where one is on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import onnx_ir as ir

from beamgen.search import beam_search, catalogue, one_beam, processors, random_numbers, warpers
from beamgen.search.graph_parts import Tape

Settings = Mapping[str, ir.Value]


@dataclass(frozen=True)
class State:
    """What the search carries from step to step, as graph values.

    The log-probabilities and beam indices of a sequence are ``[B, K, 0]`` unless
    they were asked for.
    """

    running_tokens: ir.Value  # int64 [B, K, t]
    running_log_probs: ir.Value  # float [B, K, t or 0], of each token
    running_beam_indices: ir.Value  # int64 [B, K, t or 0]
    running_scores: ir.Value  # float [B, K], summed log-probability
    finished_tokens: ir.Value  # int64 [B, K, t]
    finished_log_probs: ir.Value  # float [B, K, t or 0]
    finished_beam_indices: ir.Value  # int64 [B, K, t or 0]
    finished_scores: ir.Value  # float [B, K], length-penalised
    finished_lengths: ir.Value  # int64 [B, K]
    is_sent_finished: ir.Value  # bool [B, K]
    unsatisfied: ir.Value  # bool [B, 1], HF's is_early_stop_heuristic_unsatisfied
    node: ir.Value  # int64 [B, K], where in the catalogue

    def values(self) -> list[ir.Value]:
        """In the order of the fields."""
        return [getattr(self, field.name) for field in fields(self)]


STATE_TYPES = {
    "running_tokens": (ir.DataType.INT64, 3),
    "running_log_probs": (ir.DataType.FLOAT, 3),
    "running_beam_indices": (ir.DataType.INT64, 3),
    "running_scores": (ir.DataType.FLOAT, 2),
    "finished_tokens": (ir.DataType.INT64, 3),
    "finished_log_probs": (ir.DataType.FLOAT, 3),
    "finished_beam_indices": (ir.DataType.INT64, 3),
    "finished_scores": (ir.DataType.FLOAT, 2),
    "finished_lengths": (ir.DataType.INT64, 2),
    "is_sent_finished": (ir.DataType.BOOL, 2),
    "unsatisfied": (ir.DataType.BOOL, 2),
    "node": (ir.DataType.INT64, 2),
}

#: What a search can be retold from, besides the state; see ``beamgen.search.trace``.
_TOLD = "top_scores top_tokens top_beams running_index finished_index"
_RESULTS = f"go_on {' '.join(STATE_TYPES)} parents {_TOLD}"


@dataclass(frozen=True)
class _Step:
    """What both ways read."""

    input_ids: ir.Value  # int64 [B, S]
    state: State
    settings: Settings
    generated_len: ir.Value  # int64 [1], before the token to come
    cur_len: ir.Value  # int64 [1], with it


def search_step(
    tape: Tape, logits: ir.Value, input_ids: ir.Value, state: State, settings: Settings
) -> tuple[ir.Value, State, ir.Value]:
    """Logits ``[B, K or 1, V]`` -> go on?, the next state, the beams' parents ``[B, K]``."""
    generated_len, cur_len = tape.call(
        beam_search.current_length, state.running_tokens, outputs="generated_len cur_len"
    )
    step = _Step(input_ids, state, settings, generated_len, cur_len)
    (scores,) = tape.branch(
        settings["one_beam"],
        lambda side: [logits],
        lambda side: [side.standard("LogSoftmax", logits, output="log_softmax", axis=-1)],
        names=("logits", "log_probs"),
        outputs="token_scores",
    )
    chosen = _choose(tape, step, scores)
    go_on, *results = tape.branch(
        settings["one_beam"],
        lambda side: _sample(side, step, chosen),
        lambda side: _beam_search(side, step, chosen),
        names=("one_beam", "beam_search"),
        outputs=_RESULTS,
    )
    return go_on, State(*results[: len(STATE_TYPES)]), results[len(STATE_TYPES)]


@dataclass(frozen=True)
class _Chosen:
    """Continuations: in beam search M of them, with one beam the next token of each chain."""

    scores: ir.Value  # float [B, M], accumulated; with one beam as log_probs
    tokens: ir.Value  # int64 [B, M]
    beams: ir.Value  # int64 [B, M]
    log_probs: ir.Value  # float [B, M], of the tokens alone


_CHOSEN = "chosen_scores chosen_tokens chosen_beams chosen_log_probs"


def _beam_search(tape: Tape, step: _Step, chosen: _Chosen) -> list[ir.Value]:
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


def _sample(tape: Tape, step: _Step, chosen: _Chosen) -> list[ir.Value]:
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
    tape: Tape, step: _Step, tokens: ir.Value, log_probs: ir.Value, numbered: ir.Value
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


def _next_nodes(tape: Tape, step: _Step, parents: ir.Value, tokens: ir.Value) -> ir.Value:
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


def _choose(tape: Tape, step: _Step, scores: ir.Value) -> _Chosen:
    """Process the scores ``[B, n, V]`` if anything is on, then take the best or draw."""
    settings = step.settings

    def processed(side: Tape) -> Sequence[ir.Value]:
        changed = _processed(side, step, scores)
        return side.branch(
            settings["sampling"],
            lambda inner: _drawn(inner, step, changed),
            lambda inner: _best(inner, step, _renormalized(inner, changed, settings)),
            names=("sampling", "best"),
            outputs=_CHOSEN,
        )

    (on,) = tape.call(
        processors.have_work,
        settings["in_use"],
        settings["min_new_tokens"],
        step.generated_len,
        outputs="processed",
    )
    chosen = tape.branch(
        on,
        processed,
        lambda side: _best(side, step, scores),
        names=("processing", "plain"),
        outputs=_CHOSEN,
    )
    return _Chosen(*chosen)


def _best(tape: Tape, step: _Step, scores: ir.Value) -> Sequence[ir.Value]:
    def top_k(side: Tape) -> Sequence[ir.Value]:
        return side.call(
            beam_search.get_top_k_continuations,
            scores,
            step.state.running_scores,
            step.settings["eos_token_id"],
            outputs=_CHOSEN,
        )

    return tape.branch(
        step.settings["one_beam"],
        lambda side: side.call(one_beam.take_best, scores, outputs=_CHOSEN),
        top_k,
        names=("argmax", "top_k"),
        outputs=_CHOSEN,
    )


def _drawn(tape: Tape, step: _Step, scores: ir.Value) -> Sequence[ir.Value]:
    settings = step.settings
    candidates, ids = _warped(tape, scores, settings)
    candidates, ids, accumulated, perturbed = tape.call(
        random_numbers.perturbed_candidates,
        candidates,
        ids,
        step.state.running_scores,
        settings["one_beam"],
        settings["seed"],
        step.generated_len,
        outputs="candidates candidate_ids accumulated perturbed",
    )

    def several(side: Tape) -> Sequence[ir.Value]:
        return side.call(
            random_numbers.sample_top_k_continuations,
            candidates,
            ids,
            accumulated,
            perturbed,
            settings["eos_token_id"],
            outputs=_CHOSEN,
        )

    return tape.branch(
        settings["one_beam"],
        lambda side: side.call(
            random_numbers.draw_one, candidates, ids, perturbed, outputs=_CHOSEN
        ),
        several,
        names=("one", "several"),
        outputs=_CHOSEN,
    )


def _processed(tape: Tape, step: _Step, scores: ir.Value) -> ir.Value:
    """All processors up to the warpers, in HF's order, on ``[B, n, V]``."""
    settings, generated_len = step.settings, step.generated_len
    eos = settings["eos_token_id"]
    (history,) = tape.call(
        processors.token_history,
        scores,
        step.input_ids,
        step.state.running_tokens,
        outputs="history",
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
        (scores,) = tape.call(function, scores, *inputs, outputs=f"after_{function.name}")
    return scores


def _warped(tape: Tape, scores: ir.Value, settings: Settings) -> tuple[ir.Value, ir.Value]:
    """Scores ``[B, n, V]`` -> candidates' scores and token ids ``[B, n, N]``."""
    to_keep = settings["min_tokens_to_keep"]
    (scores,) = tape.call(
        warpers.temperature, scores, settings["temperature"], outputs="after_temperature"
    )
    scores, ids = tape.call(
        warpers.top_k, scores, settings["top_k"], to_keep, outputs="after_top_k top_k_ids"
    )
    scores, ids = tape.call(
        warpers.top_p, scores, ids, settings["top_p"], to_keep, outputs="after_top_p token_ids"
    )
    for function in (
        warpers.min_p,
        warpers.typical_p,
        warpers.epsilon_cutoff,
        warpers.eta_cutoff,
    ):
        (scores,) = tape.call(
            function, scores, settings[function.name], to_keep, outputs=f"after_{function.name}"
        )
    return _renormalized(tape, scores, settings), ids


def _renormalized(tape: Tape, scores: ir.Value, settings: Settings) -> ir.Value:
    return tape.call(
        processors.renormalize, scores, settings["renormalize_logits"], outputs="renormalized"
    )[0]
