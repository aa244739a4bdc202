"""The two bodies of the loop backend: some steps and then compaction, and one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.decoder.contract import cache_names
from beamgen.search.functions import tree_cache
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
class LoopParts:
    """What both bodies are made from: a decoder, and values of the main graph."""

    decoder: NestedDecoder
    geometry: KVGeometry
    prompt: Prompt
    prompt_len: ir.Value  # int64 [B, 1], without padding
    settings: Settings
    rules: Rules
    empty_cache: ir.Value  # float [B, Hkv, 0, D]

    @property
    def carried(self) -> list[str]:
        """Names of what the outer body carries: the search, and the caches."""
        return [*_SEARCH_TYPES, *self.stored]

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
        return [self.empty_cache] * len(self.stored)


def chunk_body(parts: LoopParts) -> ir.Graph:
    """Some steps, and then compaction: the body of the outer Loop."""
    settings = parts.settings
    iteration = _input("chunks/iteration", ir.DataType.INT64, 0)
    go_on_before = _input("chunks/go_on", ir.DataType.BOOL, 0)
    before = _search_inputs("chunks")
    stored = _cache_inputs("chunks", parts.stored)
    tape = Tape("chunk")
    parts.decoder.fold(tape)
    is_prompt = tape.standard("Equal", iteration, settings["first_chunk"], output="is_prompt")
    most = tape.standard(
        "Where", is_prompt, settings["one_step"], settings["steps_per_chunk"], output="most_steps"
    )
    # a Loop hands its body's condition to nobody, so that it is carried as well
    after = tape.section("chunk/after").node(
        "Loop",
        [most, go_on_before, go_on_before, *before.values(), *parts.empty_caches],
        ["go_on", *_SEARCH_TYPES, *parts.past],
        {"body": _step_body(parts, is_prompt, stored)},
    )
    kept = _compacted(tape, parts, after, stored)
    return _body(
        "beam_search_chunk",
        tape,
        [iteration, go_on_before, *before.values(), *stored.values()],
        [
            tape.standard("Identity", after.go_on, output="go_on.out"),
            *vars(State.of(after)).values(),
            *kept,
        ],
        parts.decoder.outer_weights,
    )


def _compacted(
    tape: Tape, parts: LoopParts, after: Results, stored: Mapping[str, ir.Value]
) -> Results:
    """Visible, slot and the stored caches of the next chunk, or nothing after the last."""
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

    def end(side: Tape) -> Results:
        nothing = {f"stored.{name}": parts.empty_cache for name in caches}
        return Results(visible=after.visible, slot=after.slot, **nothing)

    return tape.branch(after.go_on, compact, end, sides=("compact", "end"))


def _step_body(parts: LoopParts, is_prompt: ir.Value, stored: Mapping[str, ir.Value]) -> ir.Graph:
    """A decoder step, and then a search step: the body of the inner Loop."""
    iteration = _input("steps/iteration", ir.DataType.INT64, 0)
    conditions = [_input(f"steps/{name}", ir.DataType.BOOL, 0) for name in ("condition", "go_on")]
    carried = _search_inputs("steps")
    past = _cache_inputs("steps", parts.past)
    before = State(**{name: carried[name] for name in STATE_TYPES})
    tape = Tape("step")
    fed = _decoder_inputs(tape, parts, is_prompt, carried)
    logits, present = parts.decoder(
        tape.section("decoder"), {**dict(fed.items()), **stored, **past}
    )
    found = search_step(tape, logits, parts.prompt, before, parts.settings, parts.rules)
    entries = tape.call(tree_cache.next_entries, carried["visible"], carried["slot"], found.parents)
    go_on_too = tape.standard("Identity", found.go_on, output="go_on.out")
    return _body(
        "beam_search_step",
        tape,
        [iteration, *conditions, *carried.values(), *past.values()],
        [found.go_on, go_on_too, *vars(State.of(found)).values(), *entries, *present],
        parts.decoder.inner_weights,
    )


def _decoder_inputs(
    tape: Tape, parts: LoopParts, is_prompt: ir.Value, carried: Mapping[str, ir.Value]
) -> Results:
    """The decoder's inputs but the caches: of the prompt, or of the beams' newest tokens."""
    prompt, window = parts.prompt, parts.settings["attention_window"]

    def of_beams(side: Tape) -> Results:
        return side.call(
            tree_cache.step_inputs,
            carried["running_tokens"],
            carried["visible"],
            carried["slot"],
            parts.prompt_len,
            window,
        )

    return tape.branch(
        is_prompt,
        lambda side: side.call(
            tree_cache.prompt_inputs, prompt.input_ids, prompt.attention_mask, window
        ),
        of_beams,
        sides=("prompt", "beams"),
    )


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


def _cache_inputs(prefix: str, names: Sequence[str]) -> dict[str, ir.Value]:
    return {name: _input(f"{prefix}/{name}", ir.DataType.FLOAT, 4) for name in names}


def _input(name: str, dtype: ir.DataType, rank: int) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([None] * rank))
