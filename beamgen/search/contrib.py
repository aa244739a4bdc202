"""The contrib backend: a decoder step becomes the subgraph of one of ONNX Runtime's operators.

    inputs -> com.microsoft::BeamSearch { decoder step } -> outputs

The decoder's weights are initializers of the main graph, which the subgraph captures:
ONNX Runtime prepacks those, and a file above 2 GB keeps them in external data.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from beamgen.decoder.contract import KEY_POSITIONS, contrib_cache_names
from beamgen.decoder.graph import DecoderGraph
from beamgen.search.decoder_copy import DecoderCopier
from beamgen.search.functions import contrib_cache, entry_positions
from beamgen.search.functions.library import functions
from beamgen.search.ports import (
    attended_window,
    declare,
    parameter_inputs,
    prompt_input,
    slot_inputs,
    typed,
    with_default,
)
from beamgen.settings import contrib, contrib_inputs
from beamgen.settings.config import SearchConfig
from beamgen.settings.parameter import NOTHING_REQUIRED, Required
from beamgen.tape import Results, Tape

_INT32, _FLOAT = ir.DataType.INT32, ir.DataType.FLOAT


def build_contrib(
    decoder: DecoderGraph, config: SearchConfig, required: Required = NOTHING_REQUIRED
) -> ir.Model:
    """Wrap a decoder in ``BeamSearch``, ``GreedySearch`` or ``Sampling``.

    Args:
        decoder: holds ``contract.contrib_contract``; read, not changed. Its weights are
            shared with the result, and its slots become inputs.
        config: chooses the operator, gives its attributes and its inputs' defaults.
        required: inputs that get no default.

    Returns:
        A model with the operator's own inputs and outputs: int32 ``input_ids`` and
        ``attention_mask`` ``[batch, prompt_len]``, and its parameters -> ``sequences``
        ``[batch, num_return_sequences, max_length]`` and ``sequences_scores``
        ``[batch, num_return_sequences]``, or ``sequences`` ``[batch, max_length]``.

    Raises:
        SettingError: the operator cannot honour the config.

    Source: the schemas of ``com.microsoft``; ``GptSubgraph::Validate`` for what it
    demands of its subgraph.
    """
    contrib.check_honoured(config)
    operator, vocab_size = contrib.operator_of(config), decoder.vocab_size
    main = Tape("search")
    input_ids = prompt_input("input_ids", "the prompts, left-padded", _INT32)
    attention_mask = prompt_input("attention_mask", "0 on padding, 1 on text", _INT32)
    parameters = parameter_inputs(
        contrib.parameters(operator, vocab_size),
        contrib_inputs.inputs(config.for_prompt(1), 1, vocab_size),
        {*required.parameters, *contrib_inputs.without_default(config)},
    )
    lora = slot_inputs(decoder.slots, 1, required=required.slots)
    copy = DecoderCopier(decoder.model.graph, lora)
    values = {
        **parameters,
        "prefix_vocab_mask": _for_each_row(main, parameters, input_ids),
        "input_ids": input_ids,
        "attention_mask": attention_mask,
    }
    attributes = {
        **contrib_inputs.attributes(config, vocab_size),
        "decoder": _subgraph(main, decoder, copy, parameters.get("num_beams")),
    }
    outputs = main.node(
        operator,
        _in_order(operator, values),
        ["sequences", "sequences_scores"] if operator == contrib.BEAM_SEARCH else ["sequences"],
        attributes,
        domain=contrib.DOMAIN,
    )
    _declare_outputs(outputs)
    modules = [contrib_cache, *([entry_positions] if decoder.asks_for_positions else [])]
    graph = ir.Graph(
        [input_ids, attention_mask, *parameters.values(), *lora.values()],
        list(outputs),
        nodes=main.nodes,
        initializers=[
            *copy.weights,
            *with_default([*parameters.values(), *lora.values()]),
            *main.initializers,
        ],
        opset_imports={**decoder.model.opset_imports, contrib.DOMAIN: 1},
        name="beam_search",
    )
    return ir.Model(
        graph,
        ir_version=decoder.model.ir_version,
        producer_name="beamgen",
        functions=[*decoder.model.functions.values(), *functions(*modules)],
    )


def _for_each_row(tape: Tape, parameters: Mapping[str, ir.Value], input_ids: ir.Value) -> ir.Value:
    """The mask of first tokens ``[1 or B, V]`` as the operator wants it, ``[B, V]``."""
    batch = tape.standard("Shape", input_ids, output="batch", end=1)
    shape = tape.standard("Concat", batch, tape.constant("one", [1]), output="rows", axis=0)
    mask = parameters["prefix_vocab_mask"]
    return tape.standard("Expand", mask, shape, output="prefix_vocab_mask")


def _in_order(operator: str, values: Mapping[str, ir.Value]) -> list[ir.Value | None]:
    """The operator's inputs: all that it has up to the last one used."""
    beams = ["num_beams", "num_return_sequences", "length_penalty"]
    names = [
        "input_ids",
        "max_length",
        "min_length",
        *(beams if operator == contrib.BEAM_SEARCH else []),
        "repetition_penalty",
        "vocab_mask",
        "prefix_vocab_mask",
        "attention_mask",
    ]
    if operator == contrib.SAMPLING:
        names += ["presence_mask", "seed"]
    return [values.get(name) for name in names]


def _declare_outputs(outputs: Results) -> None:
    """Sequences and their scores, of every beam that is returned; or sequences alone."""
    sequences, *scores = outputs
    beams = ("num_return_sequences",) if scores else ()
    declare(sequences, "sequences", _INT32, "batch", *beams, "max_length")
    sequences.doc_string = "prompt + generated ids, filled with pad_token_id up to max_length"
    for value in scores:
        declare(value, "sequences_scores", _FLOAT, "batch", *beams)
        value.doc_string = "the operator's score: summed log-probability / tokens ** length_penalty"


def _subgraph(
    main: Tape, decoder: DecoderGraph, copy: DecoderCopier, num_beams: ir.Value | None
) -> ir.Graph:
    """The decoder step behind the inputs and outputs that the operator demands.

    num_beams int32 ``[1]`` is an input of the main graph, or None where there is one beam.
    """
    geometry = decoder.geometry
    heads, width = geometry.num_kv_heads, max(geometry.widths)
    ids = typed("input_ids", _INT32, "rows", "new")
    positions = typed("position_ids", _INT32, "rows", "new")
    mask = typed("attention_mask", _INT32, "rows", "attended")
    past = [
        typed(name, _FLOAT, 2, "rows", heads, "past_len", width)
        for name in contrib_cache_names("past", geometry)
    ]
    beams = main.constant("one_beam", [1])
    if num_beams is not None:
        beams = main.standard("Cast", num_beams, output="num_beams", to=ir.DataType.INT64)
    window = attended_window(main, decoder.attention_window)
    tape = Tape("step")
    own = tape.call(contrib_cache.op_inputs, ids, mask, past[0], beams, window)
    feeds = {**dict(own.items()), **{value.name or "": value for value in past}}
    if decoder.counts_padding:
        counted = tape.section("step/counted")
        feeds |= counted.call(
            entry_positions.copied_slot_positions, mask, own.key_rows, own.input_ids
        ).items()
    elif decoder.reads_key_positions:
        feeds[KEY_POSITIONS] = tape.value(entry_positions.copied_text_positions, mask, own.key_rows)
    logits, present = copy(tape.section("decoder"), feeds)
    logits = _if_numbers(tape, logits)
    declare(logits, "logits", _FLOAT, "rows", 1, decoder.vocab_size)
    for value, name in zip(present, contrib_cache_names("present", geometry), strict=True):
        declare(value, name, _FLOAT, 2, "rows", heads, "attended", width)
    return ir.Graph(
        [ids, positions, mask, *past], [logits, *present], nodes=tape.nodes, name="decoder_step"
    )


def _if_numbers(tape: Tape, logits: ir.Value) -> ir.Value:
    """The logits, where the operator can choose by them; else their shape cannot be looked up.

    A sum is NaN or infinite where one of them is; minus infinity is a token that never comes.
    """
    total = tape.standard("ReduceSum", logits, output="sum_of_scores", keepdims=0)
    undefined = tape.standard("IsNaN", total, output="sum_is_undefined")
    infinite = tape.standard("IsInf", total, output="sum_is_infinite", detect_negative=0)
    failed = tape.standard("Or", undefined, infinite, output="scores_failed")
    row = tape.standard("Cast", failed, output="shape_row", to=ir.DataType.INT64)
    same = tape.standard(
        "Unsqueeze", tape.ints("same_shape", [0, 0, -1]), tape.ints("first", [0]), output="shapes"
    )  # [1, 3]: there is no second row
    shape = tape.standard("Gather", same, row, output=contrib.NO_NUMBERS)
    return tape.standard("Reshape", logits, shape, output="logits")
