"""The loop backend: a decoder step becomes one graph that runs the whole search.

    prompt pass -> first search step -> Loop { decoder step -> search step } -> outputs

The decoder's nodes stand twice, in the main graph and in the loop's body, over
the same initializers, which live in the main graph: weights that a body captures
from its parent are prepacked by ONNX Runtime, from two levels up they are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.search import beam_search, processors, tree_cache
from beamgen.search.graph_parts import (
    DecoderCopier,
    Function,
    Tape,
    parameter_inputs,
    prompt_input,
    search_output,
    shared_weight,
)
from beamgen.search_config import SearchConfig

_NO_WINDOW = 2**62

#: Every function a loop file may hold.
FUNCTIONS: tuple[Function, ...] = (
    beam_search.gather_beams,
    beam_search.current_length,
    beam_search.length_penalised,
    beam_search.initial_state,
    beam_search.greedy_or_beam,
    processors.min_new_tokens_length,
    beam_search.get_top_k_continuations,
    beam_search.hits_stopping_criteria,
    beam_search.get_running_beams_for_next_iteration,
    beam_search.update_finished_beams,
    beam_search.extend_sequences,
    beam_search.check_early_stop_heuristic,
    beam_search.beam_search_has_unfinished_sequences,
    beam_search.finalize,
    tree_cache.prompt_inputs,
    tree_cache.identity_blocks,
    tree_cache.first_entries,
    tree_cache.step_inputs,
    tree_cache.live_entries,
    tree_cache.gather_entries,
)


@dataclass(frozen=True)
class _State:
    """What the search carries from step to step, as graph values."""

    running_tokens: ir.Value  # int64 [B, K, t]
    running_scores: ir.Value  # float [B, K], summed log-probability
    finished_tokens: ir.Value  # int64 [B, K, t]
    finished_scores: ir.Value  # float [B, K], length-penalised
    finished_lengths: ir.Value  # int64 [B, K]
    is_sent_finished: ir.Value  # bool [B, K]
    unsatisfied: ir.Value  # bool [B, 1], HF's is_early_stop_heuristic_unsatisfied

    def values(self) -> list[ir.Value]:
        return [getattr(self, field.name) for field in fields(self)]


_STATE_TYPES = {
    "running_tokens": (ir.DataType.INT64, 3),
    "running_scores": (ir.DataType.FLOAT, 2),
    "finished_tokens": (ir.DataType.INT64, 3),
    "finished_scores": (ir.DataType.FLOAT, 2),
    "finished_lengths": (ir.DataType.INT64, 2),
    "is_sent_finished": (ir.DataType.BOOL, 2),
    "unsatisfied": (ir.DataType.BOOL, 2),
}


@dataclass(frozen=True)
class _Prompt:
    input_ids: ir.Value  # int64 [B, S]
    attention_mask: ir.Value  # int64 [B, S]


def build_loop(
    decoder: ir.Model,
    geometry: KVGeometry,
    config: SearchConfig,
    attention_window: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ir.Model:
    """Wrap a decoder in the beam search of ``transformers`` 4.57.

    Args:
        decoder: holds ``beamgen.decoder.contract``; read, not changed. Its
            weights are shared with the result.
        geometry: the decoder's caches.
        config: the defaults of the search parameters, which stay inputs.
        attention_window: tokens a position sees, itself included, or None.
        metadata: goes into the model's metadata.

    Returns:
        A model with the inputs and outputs of the README's table: ``input_ids``,
        ``attention_mask`` and the parameters -> ``sequences``
        ``[batch, num_return_sequences, total_len]``, ``sequences_scores``
        ``[batch, num_return_sequences]``.
    """
    main = Tape("search")
    prompt = _Prompt(
        input_ids=prompt_input("input_ids", "the prompts, left-padded"),
        attention_mask=prompt_input("attention_mask", "0 on padding, 1 on text"),
    )
    parameters = parameter_inputs(config)
    settings = _settings(main, parameters, attention_window)
    weights = {value: shared_weight(value) for value in decoder.graph.initializers.values()}
    empty = _empty_cache(main, prompt.input_ids, geometry)
    copy = DecoderCopier(decoder.graph, geometry, weights)

    prompt_len, logits, prompt_cache = _prompt_pass(main, copy, prompt, settings, empty)
    start = _initial_state(main, prompt, settings)
    go_on, state, parents = _search_step(main.section("first"), logits, start, settings)
    visible, birth = _first_entries(main, parents)
    body = _loop_body(copy, prompt, prompt_len, prompt_cache, settings)
    carried = [*state.values(), visible, birth, *[empty] * len(prompt_cache)]
    results = [ir.Value(name=f"steps/{value.name}") for value in body.outputs[1:]]
    final = main.node("Loop", [None, go_on, *carried], results, {"body": body})
    found = _State(*final[: len(_STATE_TYPES)])
    outputs = main.call(
        beam_search.finalize,
        prompt.input_ids,
        found.finished_tokens,
        found.finished_scores,
        found.finished_lengths,
        settings["num_return_sequences"],
        outputs="sequences sequences_scores",
    )
    graph = ir.Graph(
        [prompt.input_ids, prompt.attention_mask, *parameters.values()],
        [
            search_output(outputs[0], "sequences", ir.DataType.INT64, "total_len"),
            search_output(outputs[1], "sequences_scores", ir.DataType.FLOAT),
        ],
        nodes=main.nodes,
        initializers=[*weights.values(), *parameters.values(), *main.initializers],
        opset_imports=dict(decoder.opset_imports),
        name="beam_search",
    )
    functions = [
        ir.serde.deserialize_function(function.to_function_proto()) for function in FUNCTIONS
    ]
    return ir.Model(
        graph,
        ir_version=decoder.ir_version,
        producer_name="beamgen",
        functions=[*decoder.functions.values(), *functions],
        metadata_props=dict(metadata or {}),
    )


def _settings(
    tape: Tape, parameters: Mapping[str, ir.Value], attention_window: int | None
) -> dict[str, ir.Value]:
    """The parameters as the step reads them."""
    early_stopping, length_penalty, fill = tape.call(
        beam_search.greedy_or_beam,
        parameters["num_beams"],
        parameters["early_stopping"],
        parameters["length_penalty"],
        parameters["eos_token_id"],
        parameters["pad_token_id"],
        outputs="early_stopping length_penalty fill_token_id",
    )
    return {
        **parameters,
        "early_stopping": early_stopping,
        "length_penalty": length_penalty,
        "fill_token_id": fill,
        "attention_window": tape.constant("attention_window", [attention_window or _NO_WINDOW]),
    }


def _empty_cache(tape: Tape, input_ids: ir.Value, geometry: KVGeometry) -> ir.Value:
    """Float ``[B, Hkv, 0, D]``."""
    batch = tape.standard("Shape", input_ids, output="batch", end=1)
    rest = tape.constant("empty_entry", [geometry.num_kv_heads, 0, geometry.head_dim])
    shape = tape.standard("Concat", batch, rest, output="empty_shape", axis=0)
    return tape.standard("ConstantOfShape", shape, output="empty_cache")


def _prompt_pass(
    tape: Tape,
    copy: DecoderCopier,
    prompt: _Prompt,
    settings: Mapping[str, ir.Value],
    empty: ir.Value,
) -> tuple[ir.Value, ir.Value, list[ir.Value]]:
    """-> prompt_len ``[B, 1]``, logits ``[B, 1, V]``, the prompt's cache."""
    position_ids, bias, prompt_len = tape.call(
        tree_cache.prompt_inputs,
        prompt.input_ids,
        prompt.attention_mask,
        settings["attention_window"],
        outputs="position_ids attention_bias prompt_len",
    )
    logits, cache = copy(
        tape.section("prompt"),
        {
            "input_ids": prompt.input_ids,
            "position_ids": position_ids,
            "attention_bias": bias,
            "last_n": tape.constant("last_of_prompt", 1),
            **dict.fromkeys([*copy.prompt_names, *copy.past_names], empty),
        },
    )
    return prompt_len, logits, cache


def _initial_state(tape: Tape, prompt: _Prompt, settings: Mapping[str, ir.Value]) -> _State:
    tokens, scores, finished_scores, lengths, finished, unsatisfied = tape.call(
        beam_search.initial_state,
        prompt.input_ids,
        settings["num_beams"],
        outputs="tokens scores finished_scores finished_lengths is_sent_finished unsatisfied",
    )
    return _State(tokens, scores, tokens, finished_scores, lengths, finished, unsatisfied)


def _first_entries(tape: Tape, parents: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Visible ``[B, K, K]`` and birth ``[B, K]`` of the first step's own entries."""
    visible, birth = tape.call(tree_cache.first_entries, parents, outputs="visible birth")
    return visible, birth


def _loop_body(
    copy: DecoderCopier,
    prompt: _Prompt,
    prompt_len: ir.Value,
    prompt_cache: Sequence[ir.Value],
    settings: Mapping[str, ir.Value],
) -> ir.Graph:
    """Decoder step -> search step -> compaction."""
    iteration = _carried("iteration", ir.DataType.INT64, 0)
    go_on_before = _carried("go_on", ir.DataType.BOOL, 0)
    before = _State(*(_carried(name, *kind) for name, kind in _STATE_TYPES.items()))
    visible = _carried("visible", ir.DataType.BOOL, 3)
    birth = _carried("birth", ir.DataType.INT64, 2)
    past = [_carried(name, ir.DataType.FLOAT, 4) for name in copy.past_names]

    tape = Tape("step")
    input_ids, position_ids, bias = tape.call(
        tree_cache.step_inputs,
        before.running_tokens,
        visible,
        birth,
        prompt.attention_mask,
        prompt_len,
        settings["attention_window"],
        outputs="input_ids position_ids attention_bias",
    )
    last_n = tape.standard("Squeeze", settings["num_beams"], output="last_n")
    logits, present = copy(
        tape.section("decoder"),
        {
            "input_ids": input_ids,
            "position_ids": position_ids,
            "attention_bias": bias,
            "last_n": last_n,
            **dict(zip(copy.prompt_names, prompt_cache, strict=True)),
            **dict(zip(copy.past_names, past, strict=True)),
        },
    )
    go_on, after, parents = _search_step(tape, logits, before, settings)
    index, next_visible, next_birth = tape.call(
        tree_cache.live_entries,
        visible,
        birth,
        parents,
        outputs="live_index next_visible next_birth",
    )
    kept = [
        tape.call(tree_cache.gather_entries, cache, index, outputs=f"kept.{name}")[0]
        for name, cache in zip(copy.past_names, present, strict=True)
    ]
    caches = [visible, birth, *past]
    outputs = [go_on, *after.values(), next_visible, next_birth, *kept]
    for output, like in zip(outputs, [go_on_before, *before.values(), *caches], strict=True):
        output.type, output.shape = like.type, like.shape
    return ir.Graph(
        [iteration, go_on_before, *before.values(), *caches],
        outputs,
        nodes=tape.nodes,
        name="beam_search_step",
    )


def _carried(name: str, dtype: ir.DataType, rank: int) -> ir.Value:
    return ir.Value(name=f"loop/{name}", type=ir.TensorType(dtype), shape=ir.Shape([None] * rank))


def _search_step(
    tape: Tape, logits: ir.Value, state: _State, settings: Mapping[str, ir.Value]
) -> tuple[ir.Value, _State, ir.Value]:
    """Logits ``[B, K or 1, V]`` -> go on?, the next state, the beams' parents ``[B, K]``."""
    eos, early = settings["eos_token_id"], settings["early_stopping"]
    generated, cur_len = tape.call(
        beam_search.current_length, state.running_tokens, outputs="generated_len cur_len"
    )
    log_probs = tape.standard("LogSoftmax", logits, output="log_probs", axis=-1)
    (log_probs,) = tape.call(
        processors.min_new_tokens_length,
        log_probs,
        generated,
        eos,
        settings["min_new_tokens"],
        outputs="processed_log_probs",
    )
    scores, tokens, beams = tape.call(
        beam_search.get_top_k_continuations,
        log_probs,
        state.running_scores,
        eos,
        outputs="top_scores top_tokens top_beams",
    )
    (hits,) = tape.call(
        beam_search.hits_stopping_criteria,
        tokens,
        cur_len,
        eos,
        settings["max_new_tokens"],
        outputs="hits",
    )
    running_scores, running_index = tape.call(
        beam_search.get_running_beams_for_next_iteration,
        scores,
        hits,
        settings["num_beams"],
        outputs="running_scores running_index",
    )
    finished_scores, finished, finished_index = tape.call(
        beam_search.update_finished_beams,
        state.finished_scores,
        state.is_sent_finished,
        scores,
        hits,
        state.unsatisfied,
        cur_len,
        settings["length_penalty"],
        early,
        outputs="finished_scores is_sent_finished finished_index",
    )
    running_tokens, finished_tokens, finished_lengths, parents = tape.call(
        beam_search.extend_sequences,
        state.running_tokens,
        state.finished_tokens,
        state.finished_lengths,
        tokens,
        beams,
        running_index,
        finished_index,
        settings["fill_token_id"],
        outputs="running_tokens finished_tokens finished_lengths parents",
    )
    (unsatisfied,) = tape.call(
        beam_search.check_early_stop_heuristic,
        state.unsatisfied,
        running_scores,
        finished_scores,
        finished,
        cur_len,
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
    after = _State(
        running_tokens,
        running_scores,
        finished_tokens,
        finished_scores,
        finished_lengths,
        finished,
        unsatisfied,
    )
    return go_on, after, parents
