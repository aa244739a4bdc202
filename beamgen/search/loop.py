"""The loop backend: a decoder step becomes one graph that runs the whole search.

    Loop over chunks {
        Loop over steps { decoder step -> search step }
        entries that no beam sees any more leave the cache
    } -> outputs

The first chunk is one step, which reads the prompt; every later one takes up to
``STEPS_PER_CHUNK``. Within a chunk the cache is only read, where it lies: a loop hands
on what it carries by copying it, so the inner one carries no more than the chunk's own
entries.

The decoder's nodes stand once. ONNX Runtime prepacks a weight that a body captures
from its parent graph, but not from two levels up; so each weight of a product passes
through a Reshape in the outer body, which the runtime folds when it loads the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.decoder.contract import cache_names
from beamgen.lora.slots import Slot
from beamgen.search.functions import beam_search, tree_cache
from beamgen.search.functions.library import loop_functions
from beamgen.search.nested_decoder import NestedDecoder
from beamgen.search.ports import (
    attended_window,
    parameter_inputs,
    prompt_input,
    search_output,
    slot_inputs,
    with_default,
)
from beamgen.search.processing import in_use
from beamgen.search.state import STATE_TYPES, Settings, State
from beamgen.search.step import search_step
from beamgen.settings.config import SearchConfig
from beamgen.settings.table import PARAMETERS
from beamgen.tape import Tape

#: Steps between two compactions of the cache.
STEPS_PER_CHUNK = 8


@dataclass(frozen=True)
class _Prompt:
    input_ids: ir.Value  # int64 [B, S]
    attention_mask: ir.Value  # int64 [B, S]


@dataclass(frozen=True)
class _CacheNames:
    prompt: list[str]  # 2L
    past: list[str]  # 2L


@dataclass(frozen=True)
class _Search:
    """What both bodies are made from."""

    decoder: NestedDecoder
    names: _CacheNames
    prompt: _Prompt
    settings: Settings
    empty: ir.Value  # float [B, Hkv, 0, D]


def build_loop(
    decoder: ir.Model,
    geometry: KVGeometry,
    config: SearchConfig,
    attention_window: int | None = None,
    required: Collection[str] = (),
    slots: Sequence[Slot] = (),
    *,
    external: bool = False,
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
        external: the weights will stand in external data, see ``nested_decoder``.

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
    parameters = parameter_inputs(PARAMETERS, config.for_prompt(1).inputs(), required)
    settings = _settings(main, parameters, attention_window)
    lora = slot_inputs(slots, "rows", required)
    parts = NestedDecoder(decoder.graph, lora, external=external)
    search = _Search(
        parts,
        _CacheNames(cache_names("prompt", geometry), cache_names("past", geometry)),
        prompt,
        settings,
        _empty_cache(main, prompt.input_ids, geometry),
    )
    visible, slot, prompt_len = main.call(
        tree_cache.prompt_entries,
        prompt.input_ids,
        prompt.attention_mask,
        settings["running"],
        outputs="visible slot prompt_len",
    )
    start = _initial_state(main, prompt, settings)
    body = _chunk(search, prompt_len)
    carried = [*start.values(), visible, slot, *[search.empty] * len(search.names.past)]
    results = [ir.Value(name=f"chunks/{value.name}") for value in body.outputs[1:]]
    final = main.node("Loop", [None, None, *carried], results, {"body": body})
    outputs = _outputs(main, prompt, State(*final[: len(STATE_TYPES)]), settings)
    graph = ir.Graph(
        [prompt.input_ids, prompt.attention_mask, *parameters.values(), *lora.values()],
        outputs,
        nodes=main.nodes,
        initializers=[
            *parts.main_weights,
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
        functions=[*decoder.functions.values(), *loop_functions()],
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
    return {
        **parameters,
        "one_beam": one,
        "running": running,
        "length_penalty": length_penalty,
        "fill_token_id": fill,
        "min_tokens_to_keep": to_keep,
        "in_use": in_use(tape, parameters),
        "sampling": sampling,
        "first_chunk": tape.constant("first_chunk", 0),
        "one_step": tape.constant("one_step", 1),
        "steps_per_chunk": tape.constant("steps_per_chunk", STEPS_PER_CHUNK),
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


def _chunk(search: _Search, prompt_len: ir.Value) -> ir.Graph:
    """The outer body: some steps, then compaction."""
    settings = search.settings
    iteration = _carried("chunks/iteration", ir.DataType.INT64, 0)
    go_on_before = _carried("chunks/go_on", ir.DataType.BOOL, 0)
    before = _carried_search("chunks")
    stored = _carried_cache("chunks", search.names.prompt)
    tape = Tape("chunk")
    search.decoder.fold(tape)
    is_prompt = tape.standard("Equal", iteration, settings["first_chunk"], output="is_prompt")
    most = tape.standard(
        "Where", is_prompt, settings["one_step"], settings["steps_per_chunk"], output="most_steps"
    )
    body = _step(search, prompt_len, is_prompt, stored)
    # a Loop hands its body's condition to nobody, so that it is carried as well
    carried = [go_on_before, *before, *[search.empty] * len(stored)]
    results = [ir.Value(name=f"chunk/{value.name}") for value in body.outputs[1:]]
    go_on, *after = tape.node("Loop", [most, go_on_before, *carried], results, {"body": body})
    state, (visible, slot) = after[: len(STATE_TYPES)], after[len(STATE_TYPES) : len(before)]
    kept = _compacted(
        tape, search, go_on, visible, slot, [*zip(stored, after[len(before) :], strict=True)]
    )
    return _body(
        "beam_search_chunk",
        tape,
        [iteration, go_on_before, *before, *stored],
        [tape.standard("Identity", go_on, output="go_on.out"), *state, *kept],
        search.decoder.outer_weights,
    )


def _compacted(
    tape: Tape,
    search: _Search,
    go_on: ir.Value,
    visible: ir.Value,
    slot: ir.Value,
    caches: Sequence[tuple[ir.Value, ir.Value]],
) -> Sequence[ir.Value]:
    """Visible, slot and the stored caches of the next chunk, or nothing after the last."""

    def compact(side: Tape) -> list[ir.Value]:
        index, next_visible, next_slot = side.call(
            tree_cache.live_entries,
            visible,
            slot,
            search.settings["attention_window"],
            outputs="live_index next_visible next_slot",
        )
        (index4,) = side.call(
            tree_cache.entries_index, caches[0][0], index, outputs="entries_index"
        )
        kept = [
            side.call(tree_cache.kept_entries, old, new, index4, outputs=f"kept.{name}")[0]
            for name, (old, new) in zip(search.names.past, caches, strict=True)
        ]
        return [next_visible, next_slot, *kept]

    return tape.branch(
        go_on,
        compact,
        lambda side: [visible, slot, *[search.empty] * len(caches)],
        names=("compact", "end"),
        outputs=" ".join(["visible", "slot", *(f"stored.{name}" for name in search.names.past)]),
    )


def _step(
    search: _Search, prompt_len: ir.Value, is_prompt: ir.Value, stored: Sequence[ir.Value]
) -> ir.Graph:
    """The inner body: decoder step -> search step."""
    names, settings = search.names, search.settings
    iteration = _carried("steps/iteration", ir.DataType.INT64, 0)
    conditions = [_carried(f"steps/{name}", ir.DataType.BOOL, 0) for name in ("condition", "go_on")]
    carried = _carried_search("steps")
    before, (visible, slot) = State(*carried[: len(STATE_TYPES)]), carried[len(STATE_TYPES) :]
    past = _carried_cache("steps", names.past)
    tape = Tape("step")
    input_ids, position_ids, bias, last_n = tape.branch(
        is_prompt,
        lambda side: [
            *side.call(
                tree_cache.prompt_inputs,
                search.prompt.input_ids,
                search.prompt.attention_mask,
                settings["attention_window"],
                outputs="input_ids position_ids attention_bias last_n",
            )
        ],
        lambda side: [
            *side.call(
                tree_cache.step_inputs,
                before.running_tokens,
                visible,
                slot,
                prompt_len,
                settings["attention_window"],
                outputs="input_ids position_ids attention_bias last_n",
            )
        ],
        names=("prompt", "beams"),
        outputs="input_ids position_ids attention_bias last_n",
    )
    logits, present = search.decoder(
        tape.section("decoder"),
        {
            "input_ids": input_ids,
            "position_ids": position_ids,
            "attention_bias": bias,
            "last_n": last_n,
            **dict(zip(names.prompt, stored, strict=True)),
            **dict(zip(names.past, past, strict=True)),
        },
    )
    go_on, after, parents = search_step(tape, logits, search.prompt.input_ids, before, settings)
    entries = tape.call(
        tree_cache.next_entries, visible, slot, parents, outputs="next_visible next_slot"
    )
    go_on_too = tape.standard("Identity", go_on, output="go_on.out")
    return _body(
        "beam_search_step",
        tape,
        [iteration, *conditions, *carried, *past],
        [go_on, go_on_too, *after.values(), *entries, *present],
        search.decoder.inner_weights,
    )


def _body(
    name: str,
    tape: Tape,
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    weights: Sequence[ir.Value] = (),
) -> ir.Graph:
    """A Loop's body, whose outputs are what it carries: all inputs but the iteration."""
    for output, like in zip(outputs, inputs[1:], strict=True):
        output.type, output.shape = like.type, like.shape
    return ir.Graph(
        inputs, outputs, nodes=tape.nodes, initializers=[*tape.initializers, *weights], name=name
    )


def _carried_search(prefix: str) -> list[ir.Value]:
    """The state, visible ``[B, K, C]`` and slot ``[B, C]``."""
    kinds = {**STATE_TYPES, "visible": (ir.DataType.BOOL, 3), "slot": (ir.DataType.INT64, 2)}
    return [_carried(f"{prefix}/{name}", *kind) for name, kind in kinds.items()]


def _carried_cache(prefix: str, names: Sequence[str]) -> list[ir.Value]:
    return [_carried(f"{prefix}/{name}", ir.DataType.FLOAT, 4) for name in names]


def _carried(name: str, dtype: ir.DataType, rank: int) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([None] * rank))
