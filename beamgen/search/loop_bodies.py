"""The two bodies of the loop backend: some steps and then compaction, and one step.

A step takes a piece of the prompt, or the newest token of each beam. Pieces before the last
only go into the cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.decoder.contract import (
    IS_PROMPT,
    KEY_POSITIONS,
    KEY_SLOTS,
    TOKEN_MASK,
    cache_names,
    state_names,
)
from beamgen.search.functions import entry_positions, states, tree_cache
from beamgen.search.nested_decoder import NestedDecoder
from beamgen.search.state import STATE_TYPES, Prompt, Settings, State
from beamgen.search.step import search_step
from beamgen.settings.rules import Rules
from beamgen.tape import Results, Tape

#: What is carried besides the caches: element type and rank.
_SEARCH_TYPES = {
    **STATE_TYPES,
    "visible": (ir.DataType.BOOL, 3),  # [B, K, C]
    "slot": (ir.DataType.INT64, 2),  # [B, C]
}


@dataclass(frozen=True)
class Chunk:
    """What one iteration of the outer loop is for, as graph values, all of them scalars."""

    iteration: ir.Value  # int64; of the prompt's chunks, which piece
    is_prompt: ir.Value  # bool
    decides: ir.Value  # bool, whether tokens are chosen


@dataclass(frozen=True)
class LoopParts:
    """What both bodies are made from: a decoder, and values of the main graph."""

    decoder: NestedDecoder
    geometry: KVGeometry
    is_windowed: bool
    prompt: Prompt
    settings: Settings
    rules: Rules
    cache_dtype: ir.DataType
    empty: tuple[ir.Value, ...]  # [B, Hkv, 0, D] of keys and of values, or one for both
    counts_padding: bool
    reads_key_positions: bool
    takes_rows: bool

    @property
    def carried(self) -> list[str]:
        """Names of what the outer body carries: the search, the states and the caches."""
        return [*_SEARCH_TYPES, *self.states, *self.stored]

    @property
    def states(self) -> list[str]:
        """Names of what each beam carries besides its cache."""
        return state_names("past_state", self.geometry)

    @property
    def stored(self) -> list[str]:
        """Names of the caches that a chunk only reads, 2L."""
        return cache_names("prompt", self.geometry)

    @property
    def past(self) -> list[str]:
        """Names of the caches that a chunk's own steps extend, 2L."""
        return cache_names("past", self.geometry)

    @property
    def empty_caches(self) -> list[ir.Value]:
        """A cache of no entries for each of them."""
        return [*self.empty] * (len(self.stored) // len(self.empty))


def chunk_body(parts: LoopParts) -> ir.Graph:
    """Some steps, and then compaction: the body of the outer Loop."""
    settings = parts.settings
    iteration = _input("chunks/iteration", ir.DataType.INT64, 0)
    go_on_before = _input("chunks/go_on", ir.DataType.BOOL, 0)
    before = _search_inputs("chunks")
    begin = _state_inputs("chunks", parts)
    stored = _cache_inputs("chunks", parts.stored, parts.cache_dtype)
    tape = Tape("chunk")
    parts.decoder.fold(tape)
    plan = tape.call(
        tree_cache.chunk_plan, iteration, parts.prompt.pieces, settings["steps_per_chunk"]
    )
    chunk = Chunk(iteration, plan.is_prompt, plan.decides)
    # a Loop hands its body's condition to nobody, so that it is carried as well
    after = tape.section("chunk/after").node(
        "Loop",
        [
            plan.most_steps,
            go_on_before,
            go_on_before,
            *before.values(),
            *begin.values(),
            *parts.empty_caches,
        ],
        ["go_on", *_SEARCH_TYPES, *parts.states, *parts.past],
        {"body": _step_body(parts, chunk, stored)},
    )
    extended = dict(after.items())
    kept = _compacted(tape, parts, chunk, after, stored)
    visible, slot, *caches = kept
    return _body(
        "beam_search_chunk",
        tape,
        [iteration, go_on_before, *before.values(), *begin.values(), *stored.values()],
        [
            tape.standard("Identity", after.go_on, output="go_on.out"),
            *vars(State.of(after)).values(),
            visible,
            slot,
            *(extended[name] for name in parts.states),
            *caches,
        ],
        parts.decoder.outer_weights,
    )


def _compacted(
    tape: Tape, parts: LoopParts, chunk: Chunk, after: Results, stored: Mapping[str, ir.Value]
) -> Results:
    """Visible, slot and the stored caches of the next chunk, or no caches after the last."""
    extended = dict(after.items())
    caches = {
        name: (old, extended[name]) for name, old in zip(parts.past, stored.values(), strict=True)
    }
    first, *_ = stored.values()

    def compact(side: Tape) -> Results:
        live = side.call(
            tree_cache.live_entries, after.visible, after.slot, parts.settings["attention_window"]
        )
        index = side.value(tree_cache.entries_index, first, live.live_index)
        kept = {
            f"stored.{name}": side.value(
                tree_cache.kept_entries, old, new, index, name=f"kept.{name}"
            )
            for name, (old, new) in caches.items()
        }
        return Results(visible=live.next_visible, slot=live.next_slot, **kept)

    def extend(side: Tape) -> Results:
        if not parts.is_windowed:
            longer = {
                f"stored.{name}": side.standard("Concat", *pair, output=f"longer.{name}", axis=2)
                for name, pair in caches.items()
            }
            return Results(visible=after.visible, slot=after.slot, **longer)
        left = side.call(
            tree_cache.entries_left_behind,
            after.visible,
            after.slot,
            chunk.iteration,
            parts.prompt.piece_len,
            parts.settings["attention_window"],
        )
        later = {
            f"stored.{name}": side.value(
                tree_cache.later_entries, *pair, left.left_behind, name=f"later.{name}"
            )
            for name, pair in caches.items()
        }
        return Results(visible=left.later_visible, slot=left.later_slot, **later)

    def go_on(side: Tape) -> Results:
        return side.branch(chunk.decides, compact, extend, sides=("compact", "extend"))

    def end(side: Tape) -> Results:
        names = (f"stored.{name}" for name in caches)
        nothing = dict(zip(names, parts.empty_caches, strict=True))
        return Results(visible=after.visible, slot=after.slot, **nothing)

    return tape.branch(after.go_on, go_on, end, sides=("go_on", "end"))


def _step_body(parts: LoopParts, chunk: Chunk, stored: Mapping[str, ir.Value]) -> ir.Graph:
    """A decoder step, and then a search step: the body of the inner Loop."""
    iteration = _input("steps/iteration", ir.DataType.INT64, 0)
    conditions = [_input(f"steps/{name}", ir.DataType.BOOL, 0) for name in ("condition", "go_on")]
    carried = _search_inputs("steps")
    begin = _state_inputs("steps", parts)
    past = _cache_inputs("steps", parts.past, parts.cache_dtype)
    tape = Tape("step")
    fed = _decoder_inputs(tape, parts, chunk, carried)
    logits, present = parts.decoder(tape.section("decoder"), {**fed, **begin, **stored, **past})
    present, ended = present[: len(past)], present[len(past) :]
    before = {"go_on": conditions[-1], **carried, **dict(zip(begin, ended, strict=True))}
    found = _decided(tape, parts, chunk, logits, before)
    go_on_too = tape.standard("Identity", found.go_on, output="go_on.out")
    results = dict(found.items())
    after = [results[name] for name in (*_SEARCH_TYPES, *parts.states)]
    return _body(
        "beam_search_step",
        tape,
        [iteration, *conditions, *carried.values(), *begin.values(), *past.values()],
        [found.go_on, go_on_too, *after, *present],
        parts.decoder.inner_weights,
    )


def _decided(
    tape: Tape, parts: LoopParts, chunk: Chunk, logits: ir.Value, before: Mapping[str, ir.Value]
) -> Results:
    """The search after logits ``[B, n, V]``, or as it was where more of the prompt is to come.

    The states before are those that the decoder has just given.
    """
    state = State(**{name: before[name] for name in STATE_TYPES})

    def decide(side: Tape) -> Results:
        found = search_step(side, logits, parts.prompt, state, parts.settings, parts.rules)
        entries = side.call(
            tree_cache.next_entries, before["visible"], before["slot"], found.parents
        )
        chosen = {
            name: side.value(states.next_states, before[name], found.parents, name=f"next.{name}")
            for name in parts.states
        }
        return Results(
            **dict(found.items()), visible=entries.next_visible, slot=entries.next_slot, **chosen
        )

    def wait(side: Tape) -> Results:
        no_choices, no_scores = parts.settings["no_choices"], parts.settings["no_scores"]
        return Results(
            go_on=before["go_on"],
            **vars(state),
            parents=no_choices,
            top_scores=no_scores,
            top_tokens=no_choices,
            top_beams=no_choices,
            running_index=no_choices,
            finished_index=no_choices,
            visible=before["visible"],
            slot=before["slot"],
            **{name: before[name] for name in parts.states},
        )

    return tape.branch(chunk.decides, decide, wait, sides=("decide", "wait"))


def _decoder_inputs(
    tape: Tape, parts: LoopParts, chunk: Chunk, carried: Mapping[str, ir.Value]
) -> dict[str, ir.Value]:
    """The decoder's inputs but the caches: of a piece, or of the beams' newest tokens."""
    prompt, window = parts.prompt, parts.settings["attention_window"]

    def of_piece(side: Tape) -> Results:
        fed = side.call(
            tree_cache.prompt_inputs,
            prompt.input_ids,
            prompt.attention_mask,
            carried["slot"],
            chunk.iteration,
            prompt.piece_len,
            window,
        )
        if not parts.states:
            return fed
        mask = prompt.attention_mask, chunk.iteration, prompt.piece_len
        return Results(**dict(fed.items()), **{TOKEN_MASK: side.value(states.piece_mask, *mask)})

    def of_beams(side: Tape) -> Results:
        fed = side.call(
            tree_cache.step_inputs,
            carried["running_tokens"],
            carried["visible"],
            carried["slot"],
            prompt.length,
            window,
        )
        if not parts.states:
            return fed
        mask = side.value(states.beams_mask, fed.input_ids)
        return Results(**dict(fed.items()), **{TOKEN_MASK: mask})

    fed = tape.branch(chunk.is_prompt, of_piece, of_beams, sides=("prompt", "beams"))
    return {
        **dict(fed.items()),
        **_counted_positions(tape, parts, carried["slot"], fed),
        **_of_rows(tape, parts, chunk, carried["slot"], fed),
    }


def _of_rows(
    tape: Tape, parts: LoopParts, chunk: Chunk, slot: ir.Value, fed: Results
) -> dict[str, ir.Value]:
    """What decoders ask for that make a row of each beam."""
    if not parts.takes_rows:
        return {}
    slots = tape.value(entry_positions.attended_slots, slot, fed.attention_bias, name=KEY_SLOTS)
    return {KEY_SLOTS: slots, IS_PROMPT: chunk.is_prompt}


def _counted_positions(
    tape: Tape, parts: LoopParts, slot: ir.Value, fed: Results
) -> dict[str, ir.Value]:
    """Positions that the branches do not give, for decoders that ask for them."""
    bias = fed.attention_bias
    if parts.counts_padding:
        counted = tape.section("step/counted")
        found = counted.call(entry_positions.slot_positions, slot, bias, fed.input_ids)
        return dict(found.items())
    if not parts.reads_key_positions:
        return {}
    prompt = parts.prompt
    keys = tape.value(entry_positions.text_positions, slot, bias, prompt.input_ids, prompt.length)
    return {KEY_POSITIONS: keys}


def _body(
    name: str,
    tape: Tape,
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    weights: Sequence[ir.Value],
) -> ir.Graph:
    """A Loop's body, whose outputs are what it carries: all inputs but the iteration."""
    for output, like in zip(outputs, inputs[1:], strict=True):
        output.type, output.shape = like.type, like.shape
    return ir.Graph(
        inputs, outputs, nodes=tape.nodes, initializers=[*tape.initializers, *weights], name=name
    )


def _search_inputs(prefix: str) -> dict[str, ir.Value]:
    """The state, visible and slot as inputs of a body."""
    return {name: _input(f"{prefix}/{name}", *kind) for name, kind in _SEARCH_TYPES.items()}


def _state_inputs(prefix: str, parts: LoopParts) -> dict[str, ir.Value]:
    shapes = zip(parts.states, parts.geometry.states, strict=True)
    return {
        name: _input(f"{prefix}/{name}", ir.DataType.FLOAT, 2 + len(shape))
        for name, shape in shapes
    }


def _cache_inputs(prefix: str, names: Sequence[str], dtype: ir.DataType) -> dict[str, ir.Value]:
    return {name: _input(f"{prefix}/{name}", dtype, 4) for name in names}


def _input(name: str, dtype: ir.DataType, rank: int) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([None] * rank))
