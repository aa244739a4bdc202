"""The loop backend: a decoder step becomes one graph that runs the whole search.

    Loop over chunks {
        Loop over steps { decoder step -> search step }
        entries that no beam sees any more leave the cache
    } -> outputs

The first chunks are one step each, which reads a piece of the prompt; only the last piece
is followed by a search step. Every later chunk takes up to ``STEPS_PER_CHUNK``. Within a
chunk the cache is only read, where it lies: a loop hands on what it carries by copying it,
so the inner one carries no more than the chunk's own entries.

The decoder's nodes stand once. ONNX Runtime prepacks a weight that a body captures
from its parent graph, but not from two levels up; so each weight of a product passes
through a Reshape in the outer body, which the runtime folds when it loads the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass

from beamgen.adapter import KVGeometry
from beamgen.decoder.contract import source_name
from beamgen.decoder.graph import DecoderGraph
from beamgen.search.functions import (
    beam_search,
    constraint,
    decoder_prompt,
    entry_positions,
    states,
    tree_cache,
)
from beamgen.search.functions.library import functions, loop_functions
from beamgen.search.loop_bodies import LoopParts, chunk_body
from beamgen.search.nested_decoder import NestedDecoder
from beamgen.search.pieces import PROMPT_PIECE
from beamgen.search.ports import (
    attended_window,
    parameter_inputs,
    prompt_input,
    search_output,
    slot_inputs,
    source_input,
    with_default,
)
from beamgen.search.processing import SOURCE_IDS, in_use
from beamgen.search.state import Prompt, State
from beamgen.seq2seq_adapter import Source
from beamgen.settings.automaton import PARTS
from beamgen.settings.config import SearchConfig
from beamgen.settings.parameter import NOTHING_REQUIRED, Required
from beamgen.settings.rules import Rules
from beamgen.settings.sources import DECODER_PROMPT, offered
from beamgen.settings.table import parameters_with
from beamgen.tape import Tape

#: Steps between two compactions of the cache.
STEPS_PER_CHUNK = 8


def build_loop(
    decoder: DecoderGraph,
    config: SearchConfig,
    rules: Rules,
    required: Required = NOTHING_REQUIRED,
    *,
    start: Sequence[int] = (),
    external: bool = False,
) -> ir.Model:
    """Wrap a decoder in the beam search of ``transformers``.

    Where an encoder is before it, the prompts that are searched are the decoder's, and the
    file's ``input_ids`` and ``attention_mask`` are what the encoder reads.

    Args:
        decoder: holds ``contract.loop_contract``; read, not changed. Its weights are
            shared with the result, and its slots become inputs.
        config: the defaults of the search parameters, which stay inputs.
        rules: of ``generate``, where releases of transformers differ.
        required: inputs that get no default.
        start: ids with which a decoder behind an encoder begins, the default of its prompts.
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
    read = _Read.of(main, decoder.sources, start, required)
    input_ids, attention_mask = read.input_ids, read.attention_mask
    taken = parameters_with(offered(decoder.sources, config))
    parameters = parameter_inputs(taken, config.for_prompt(1).inputs(), required.parameters)
    settings = {**_settings(main, parameters, decoder.attention_window), **read.processed}
    lora = slot_inputs(decoder.slots, "rows", required=required.slots)
    nested = NestedDecoder(decoder.model.graph, lora, read.sources, external=external)
    nested.lift(main.section("encoder"))
    entries = main.call(tree_cache.prompt_entries, input_ids, attention_mask, settings["running"])
    longest = main.constant("longest_piece", PROMPT_PIECE)
    pieces = main.call(tree_cache.prompt_pieces, input_ids, longest)
    prompt = Prompt(input_ids, attention_mask, entries.prompt_len, pieces.pieces, pieces.piece_len)
    initial = _initial_state(main, prompt, settings)
    parts = LoopParts(
        decoder=nested,
        geometry=decoder.geometry,
        is_windowed=decoder.attention_window is not None,
        prompt=prompt,
        settings=settings,
        rules=rules,
        cache_dtype=decoder.cache_dtype,
        empty=_empty_caches(main, input_ids, decoder.geometry, decoder.cache_dtype),
        counts_padding=decoder.counts_padding,
        reads_key_positions=decoder.reads_key_positions,
        takes_rows=decoder.takes_rows,
    )
    begin = _first_states(main, input_ids, decoder.geometry)
    carried = [*vars(initial).values(), entries.visible, entries.slot, *begin, *parts.empty_caches]
    found = main.section("found").node(
        "Loop", [None, None, *carried], parts.carried, {"body": chunk_body(parts)}
    )
    outputs = _outputs(main, prompt, State.of(found), settings, initial.stop_node)
    positions = functions(entry_positions) if decoder.asks_for_positions else []
    carrying = functions(states) if decoder.geometry.states else []
    prompts = functions(decoder_prompt) if decoder.sources else []
    inputs = [*read.inputs, *parameters.values(), *lora.values()]
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=main.nodes,
        initializers=[
            *nested.main_weights,
            *with_default(inputs),
            *main.initializers,
        ],
        opset_imports=dict(decoder.model.opset_imports),
        name="beam_search",
    )
    model = ir.Model(
        graph,
        ir_version=decoder.model.ir_version,
        producer_name="beamgen",
        functions=[
            *decoder.model.functions.values(),
            *loop_functions(rules),
            *positions,
            *prompts,
            *carrying,
        ],
    )
    # such as those of sliding windows
    RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    return model


@dataclass(frozen=True)
class _Read:
    """What is searched on, as graph values: prompts, and what an encoder reads.

    Attributes:
        inputs: of the file.
        input_ids: the prompts, int64 ``[B, S]``.
        attention_mask: theirs, int64 ``[B, S]``.
        sources: what the encoder reads, by the decoder's names.
        processed: what of it logits processors read.
    """

    inputs: Sequence[ir.Value]
    input_ids: ir.Value
    attention_mask: ir.Value
    sources: Mapping[str, ir.Value] = field(default_factory=dict)
    processed: Mapping[str, ir.Value] = field(default_factory=dict)

    @classmethod
    def of(
        cls, tape: Tape, sources: Sequence[Source], start: Sequence[int], required: Required
    ) -> _Read:
        """Of a decoder alone, or of one behind an encoder."""
        if not sources:
            input_ids = prompt_input("input_ids", "the prompts, left-padded")
            attention_mask = prompt_input("attention_mask", "0 on padding, 1 on text")
            return cls([input_ids, attention_mask], input_ids, attention_mask)
        encoded = [source_input(source) for source in sources]
        default = {DECODER_PROMPT.name: np.array([start], np.int64)}
        (given,) = parameter_inputs([DECODER_PROMPT], default, required.parameters).values()
        prompt = tape.call(decoder_prompt.decoder_prompt, given, encoded[0])
        return cls(
            [*encoded, given],
            prompt.prompt_ids,
            prompt.prompt_mask,
            {source_name(source.name): x for source, x in zip(sources, encoded, strict=True)},
            {SOURCE_IDS: encoded[0]} if sources[0].integer else {},
        )


def _settings(
    tape: Tape, parameters: Mapping[str, ir.Value], attention_window: int | None
) -> dict[str, ir.Value]:
    """The parameters as the step reads them."""
    mode = tape.call(
        beam_search.search_mode,
        parameters["num_beams"],
        parameters["do_sample"],
        parameters["num_return_sequences"],
        parameters["length_penalty"],
        parameters["eos_token_id"],
        parameters["pad_token_id"],
    )
    return {
        **parameters,
        **dict(mode.items()),
        "in_use": in_use(tape, parameters),
        "steps_per_chunk": tape.constant("steps_per_chunk", STEPS_PER_CHUNK),
        "attention_window": attended_window(tape, attention_window),
        "always": tape.constant("always", [1]),
        "no_beam": tape.constant("no_beam", [-1]),
        "no_log_prob": tape.constant("no_log_prob", [0.0], np.float32),
        "no_scores": tape.constant("no_scores", np.empty((0, 0)), np.float32),
        "no_choices": tape.constant("no_choices", np.empty((0, 0))),
    }


def _empty_caches(
    tape: Tape, input_ids: ir.Value, geometry: KVGeometry, dtype: ir.DataType
) -> tuple[ir.Value, ...]:
    """Caches of no entries, ``[B, Hkv, 0, D]``: of keys and of values, or one for both."""
    zero = ir.tensor(np.zeros(1, dtype.numpy()))
    fill = {} if dtype == ir.DataType.FLOAT else {"value": zero}  # float32 is the default
    batch = tape.standard("Shape", input_ids, output="batch", end=1)
    caches = []
    for width in dict.fromkeys(geometry.widths):
        name = "empty" if width == geometry.head_dim else "empty_value"
        rest = tape.constant(f"{name}_entry", [geometry.num_kv_heads, 0, width])
        shape = tape.standard("Concat", batch, rest, output=f"{name}_shape", axis=0)
        caches.append(tape.standard("ConstantOfShape", shape, output=f"{name}_cache", **fill))
    return tuple(caches)


def _first_states(tape: Tape, input_ids: ir.Value, geometry: KVGeometry) -> list[ir.Value]:
    """The states before the prompt: zeros, float ``[B, 1, ...]``."""
    if not geometry.states:
        return []
    batch = tape.standard("Shape", input_ids, output="rows", end=1)
    zeros = {}
    for index, shape in enumerate(dict.fromkeys(geometry.states)):
        rest = tape.constant(f"state_{index}", [1, *shape])
        whole = tape.standard("Concat", batch, rest, output=f"state_{index}_shape", axis=0)
        zeros[shape] = tape.standard("ConstantOfShape", whole, output=f"first_state_{index}")
    return [zeros[shape] for shape in geometry.states]


def _initial_state(tape: Tape, prompt: Prompt, settings: Mapping[str, ir.Value]) -> State:
    start = tape.call(
        beam_search.initial_state, prompt.input_ids, settings["running"], settings["one_beam"]
    )
    return State(
        running_tokens=start.tokens,
        running_log_probs=start.log_probs,
        running_beam_indices=start.tokens,
        running_scores=start.running_scores,
        finished_tokens=start.tokens,
        finished_log_probs=start.log_probs,
        finished_beam_indices=start.tokens,
        finished_scores=start.finished_scores,
        finished_lengths=start.finished_lengths,
        is_sent_finished=start.is_sent_finished,
        unsatisfied=start.unsatisfied,
        node=tape.value(
            constraint.first_nodes, settings["constraint_start"], start.finished_lengths
        ),
        stop_node=tape.value(
            constraint.stops_before, prompt.input_ids, start.finished_lengths, *_stop(settings)
        ),
    )


def _stop(settings: Mapping[str, ir.Value]) -> list[ir.Value]:
    """The automaton of stop strings."""
    return [settings[f"stop_{part}"] for part in PARTS]


def _outputs(
    tape: Tape,
    prompt: Prompt,
    found: State,
    settings: Mapping[str, ir.Value],
    stops_before: ir.Value,
) -> list[ir.Value]:
    returned = settings["num_return_sequences"]
    best = tape.call(
        beam_search.finalize,
        prompt.input_ids,
        found.finished_tokens,
        found.finished_scores,
        found.finished_lengths,
        found.is_sent_finished,
        returned,
        settings["length_penalty"],
        settings["eos_token_id"],
    )
    finish_reasons = tape.value(
        constraint.stop_reasons,
        best.finish_reasons,
        stops_before,
        best.new_tokens,
        best.new_lengths,
        *_stop(settings),
        name="reasons",
    )
    beam_indices, log_probs = (
        tape.value(beam_search.best_hypotheses, values, found.finished_lengths, returned, name=name)
        for name, values in (
            ("beam_indices", found.finished_beam_indices),
            ("token_log_probs", found.finished_log_probs),
        )
    )
    return [
        search_output(best.sequences, "sequences", ir.DataType.INT64, "total_len"),
        search_output(best.sequences_scores, "sequences_scores", ir.DataType.FLOAT),
        search_output(finish_reasons, "finish_reasons", ir.DataType.INT64),
        search_output(beam_indices, "beam_indices", ir.DataType.INT64, "scored_len"),
        search_output(log_probs, "token_log_probs", ir.DataType.FLOAT, "scored_len"),
    ]
