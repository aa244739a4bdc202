"""The loop backend: a decoder step becomes one graph that runs the whole search.

    prompt pass -> first search step -> Loop { decoder step -> search step } -> outputs

The decoder's nodes stand twice, in the main graph and in the loop's body, over
the same initializers, which live in the main graph: weights that a body captures
from its parent are prepacked by ONNX Runtime, from two levels up they are not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.decoder.contract import cache_names
from beamgen.lora.slots import Slot
from beamgen.parameters import PARAMETERS
from beamgen.search import beam_search, processors, tree_cache
from beamgen.search.functions import LOOP_MODULES, functions
from beamgen.search.graph_parts import (
    DecoderCopier,
    Tape,
    attended_window,
    parameter_inputs,
    prompt_input,
    search_output,
    slot_inputs,
    with_default,
)
from beamgen.search.state import STATE_TYPES, State
from beamgen.search.step import search_step
from beamgen.search_config import SearchConfig

# The inputs of `processors.in_use`, in its order.
_PROCESSORS = (
    "repetition_penalty",
    "no_repeat_ngram_size",
    "sequence_bias_ids",
    "bad_words_ids",
    "catalogue_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
    "renormalize_logits",
    "do_sample",
)


@dataclass(frozen=True)
class _Prompt:
    input_ids: ir.Value  # int64 [B, S]
    attention_mask: ir.Value  # int64 [B, S]


@dataclass(frozen=True)
class _CacheNames:
    prompt: list[str]  # 2L
    past: list[str]  # 2L


def build_loop(
    decoder: ir.Model,
    geometry: KVGeometry,
    config: SearchConfig,
    attention_window: int | None = None,
    required: Collection[str] = (),
    slots: Sequence[Slot] = (),
) -> ir.Model:
    """Wrap a decoder in the beam search of ``transformers`` 4.57.

    Args:
        decoder: holds ``beamgen.decoder.contract``; read, not changed. Its
            weights are shared with the result.
        geometry: the decoder's caches.
        config: the defaults of the search parameters, which stay inputs.
        attention_window: tokens a position sees, itself included, or None.
        required: parameters that get no default; ``lora`` stands for the slots.
        slots: the linear layers that take a LoRA; their A and B become inputs too.

    Returns:
        A model with the inputs and outputs of the README's table: ``input_ids``,
        ``attention_mask`` and the parameters -> ``sequences``
        ``[batch, num_return_sequences, total_len]``, ``sequences_scores`` and
        ``finish_reasons`` ``[batch, num_return_sequences]``, and with
        ``output_scores`` ``beam_indices`` and ``token_log_probs``
        ``[batch, num_return_sequences, generated_len]``.
    """
    main = Tape("search")
    prompt = _Prompt(
        input_ids=prompt_input("input_ids", "the prompts, left-padded"),
        attention_mask=prompt_input("attention_mask", "0 on padding, 1 on text"),
    )
    parameters = parameter_inputs(PARAMETERS, config.inputs(), required)
    settings = _settings(main, parameters, attention_window)
    empty = _empty_cache(main, prompt.input_ids, geometry)
    lora = slot_inputs(slots, "rows", required)
    copy = DecoderCopier(decoder.graph, lora)

    names = _CacheNames(cache_names("prompt", geometry), cache_names("past", geometry))
    prompt_len, logits, prompt_cache = _prompt_pass(main, copy, names, prompt, settings, empty)
    start = _initial_state(main, prompt, settings)
    go_on, state, parents = search_step(
        main.section("first"), logits, prompt.input_ids, start, settings
    )
    visible, birth = _first_entries(main, parents)
    body = _loop_body(copy, names, prompt, prompt_len, prompt_cache, settings)
    carried = [*state.values(), visible, birth, *[empty] * len(prompt_cache)]
    results = [ir.Value(name=f"steps/{value.name}") for value in body.outputs[1:]]
    final = main.node("Loop", [None, go_on, *carried], results, {"body": body})
    outputs = _outputs(main, prompt, State(*final[: len(STATE_TYPES)]), settings)
    graph = ir.Graph(
        [prompt.input_ids, prompt.attention_mask, *parameters.values(), *lora.values()],
        outputs,
        nodes=main.nodes,
        initializers=[
            *copy.weights,
            *with_default([*parameters.values(), *lora.values()]),
            *main.initializers,
        ],
        opset_imports=dict(decoder.opset_imports),
        name="beam_search",
    )
    return ir.Model(
        graph,
        ir_version=decoder.ir_version,
        producer_name="beamgen",
        functions=[*decoder.functions.values(), *functions(*LOOP_MODULES)],
    )


def _settings(
    tape: Tape, parameters: Mapping[str, ir.Value], attention_window: int | None
) -> dict[str, ir.Value]:
    """The parameters as the step reads them."""
    one, sampling, running, length_penalty, fill, to_keep = tape.call(
        beam_search.search_mode,
        parameters["num_beams"],
        parameters["do_sample"],
        parameters["num_return_sequences"],
        parameters["length_penalty"],
        parameters["eos_token_id"],
        parameters["pad_token_id"],
        outputs="one_beam sampling running length_penalty fill_token_id min_tokens_to_keep",
    )
    (in_use,) = tape.call(
        processors.in_use, *(parameters[name] for name in _PROCESSORS), outputs="in_use"
    )
    return {
        **parameters,
        "one_beam": one,
        "running": running,
        "length_penalty": length_penalty,
        "fill_token_id": fill,
        "min_tokens_to_keep": to_keep,
        "in_use": in_use,
        "sampling": sampling,
        "attention_window": attended_window(tape, attention_window),
        "always": tape.constant("always", [1]),
        "no_beam": tape.constant("no_beam", [-1]),
        "no_log_prob": tape.constant("no_log_prob", [0.0], np.float32),
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
    names: _CacheNames,
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
            **dict.fromkeys([*names.prompt, *names.past], empty),
        },
    )
    return prompt_len, logits, cache


def _initial_state(tape: Tape, prompt: _Prompt, settings: Mapping[str, ir.Value]) -> State:
    tokens, scores, log_probs, finished_scores, lengths, finished, unsatisfied = tape.call(
        beam_search.initial_state,
        prompt.input_ids,
        settings["running"],
        settings["one_beam"],
        outputs="tokens scores log_probs finished_scores finished_lengths is_sent_finished "
        "unsatisfied",
    )
    per_token = {"tokens": tokens, "log_probs": log_probs, "beam_indices": tokens}
    return State(
        **{f"running_{name}": nothing for name, nothing in per_token.items()},
        **{f"finished_{name}": nothing for name, nothing in per_token.items()},
        running_scores=scores,
        finished_scores=finished_scores,
        finished_lengths=lengths,
        is_sent_finished=finished,
        unsatisfied=unsatisfied,
        node=lengths,  # 0 everywhere, as the root of the catalogue is
    )


def _outputs(
    tape: Tape, prompt: _Prompt, found: State, settings: Mapping[str, ir.Value]
) -> list[ir.Value]:
    returned = settings["num_return_sequences"]
    sequences, scores, reasons = tape.call(
        beam_search.finalize,
        prompt.input_ids,
        found.finished_tokens,
        found.finished_scores,
        found.finished_lengths,
        found.is_sent_finished,
        returned,
        settings["length_penalty"],
        settings["eos_token_id"],
        outputs="sequences sequences_scores finish_reasons",
    )
    beam_indices, log_probs = (
        tape.call(
            beam_search.best_hypotheses, values, found.finished_lengths, returned, outputs=name
        )[0]
        for name, values in (
            ("beam_indices", found.finished_beam_indices),
            ("token_log_probs", found.finished_log_probs),
        )
    )
    return [
        search_output(sequences, "sequences", ir.DataType.INT64, "total_len"),
        search_output(scores, "sequences_scores", ir.DataType.FLOAT),
        search_output(reasons, "finish_reasons", ir.DataType.INT64),
        search_output(beam_indices, "beam_indices", ir.DataType.INT64, "scored_len"),
        search_output(log_probs, "token_log_probs", ir.DataType.FLOAT, "scored_len"),
    ]


def _first_entries(tape: Tape, parents: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Visible ``[B, K, K]`` and birth ``[B, K]`` of the first step's own entries."""
    visible, birth = tape.call(tree_cache.first_entries, parents, outputs="visible birth")
    return visible, birth


def _loop_body(
    copy: DecoderCopier,
    names: _CacheNames,
    prompt: _Prompt,
    prompt_len: ir.Value,
    prompt_cache: Sequence[ir.Value],
    settings: Mapping[str, ir.Value],
) -> ir.Graph:
    """Decoder step -> search step -> compaction."""
    iteration = _carried("iteration", ir.DataType.INT64, 0)
    go_on_before = _carried("go_on", ir.DataType.BOOL, 0)
    before = State(*(_carried(name, *kind) for name, kind in STATE_TYPES.items()))
    visible = _carried("visible", ir.DataType.BOOL, 3)
    birth = _carried("birth", ir.DataType.INT64, 2)
    past = [_carried(name, ir.DataType.FLOAT, 4) for name in names.past]

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
    last_n = tape.standard("Squeeze", settings["running"], output="last_n")
    logits, present = copy(
        tape.section("decoder"),
        {
            "input_ids": input_ids,
            "position_ids": position_ids,
            "attention_bias": bias,
            "last_n": last_n,
            **dict(zip(names.prompt, prompt_cache, strict=True)),
            **dict(zip(names.past, past, strict=True)),
        },
    )
    go_on, after, parents = search_step(tape, logits, prompt.input_ids, before, settings)
    index, next_visible, next_birth = tape.call(
        tree_cache.live_entries,
        visible,
        birth,
        parents,
        outputs="live_index next_visible next_birth",
    )
    kept = [
        tape.call(tree_cache.gather_entries, cache, index, outputs=f"kept.{name}")[0]
        for name, cache in zip(names.past, present, strict=True)
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
