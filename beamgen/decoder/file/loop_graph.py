"""A decoder of any face becomes one that the loop backend takes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.decoder import contract
from beamgen.decoder.contract import IS_PROMPT, KEY_POSITIONS, KEY_SLOTS, cache_names
from beamgen.decoder.file import rows
from beamgen.decoder.file.faces import LOOP, ROWS
from beamgen.decoder.file.read import FileDecoder
from beamgen.decoder.graph import DecoderGraph
from beamgen.onnx_domain import DOMAIN
from beamgen.tape import Results, Tape, body, shared_weight

_IR_VERSION = 10
_ROW_FUNCTIONS = (rows.beam_rows, rows.row_index, rows.row_past, rows.row_entries,
                  rows.row_logits_wanted, rows.row_logits)  # fmt: skip


def loop_graph(
    decoder: FileDecoder,
    vocab_size: int,
    *,
    attention_window: int | None,
    counts_padding: bool,
) -> DecoderGraph:
    """Put what the loop backend feeds before a decoder, and behind it what the backend reads.

    Args:
        decoder: read, not changed; its weights are shared with the result.
        vocab_size: V.
        attention_window: tokens that a position sees in all layers, or None. Decoders that
            take rows see to it themselves.
        counts_padding: whether positions count a batch's padding.
    """
    wanted = contract.loop_contract(decoder.geometry, vocab_size)
    takes_rows = decoder.face.kind == ROWS
    if takes_rows:
        wanted = contract.with_rows(wanted)
    elif KEY_POSITIONS in decoder.inputs:
        wanted = contract.with_key_positions(wanted)
    tape = Tape("rows" if takes_rows else "step")
    inputs = {
        name: ir.Value(name=name, type=ir.TensorType(port.dtype), shape=ir.Shape(port.shape))
        for name, port in wanted.inputs.items()
    }
    weights = {v: shared_weight(v) for v in decoder.model.graph.initializers.values()}
    build = _of_rows if takes_rows else _of_tree
    outputs = build(tape, decoder, inputs, dict(weights))
    for value, (name, port) in zip(outputs, wanted.outputs.items(), strict=True):
        value.name, value.dtype, value.shape = name, port.dtype, ir.Shape(port.shape)
    model = _model(decoder, tape, inputs, outputs, list(weights.values()))
    contract.verify(model, wanted)
    window = None if takes_rows else attention_window
    return DecoderGraph(model, decoder.geometry, window, counts_padding=counts_padding)


def _model(
    decoder: FileDecoder,
    tape: Tape,
    inputs: Mapping[str, ir.Value],
    outputs: list[ir.Value],
    weights: list[ir.Value],
) -> ir.Model:
    own = decoder.model
    functions = [body(function) for function in _ROW_FUNCTIONS]
    graph = ir.Graph(
        list(inputs.values()),
        outputs,
        nodes=tape.nodes,
        initializers=[*tape.initializers, *weights],
        opset_imports={**own.opset_imports, DOMAIN: 1},
        name="decoder_step",
    )
    return ir.Model(
        graph,
        ir_version=max(own.ir_version, _IR_VERSION),
        producer_name="beamgen",
        functions=[
            *own.functions.values(),
            *(functions if decoder.face.kind == ROWS else []),
        ],
    )


def _run(
    tape: Tape,
    decoder: FileDecoder,
    feeds: Mapping[str, ir.Value],
    values: dict[ir.Value, ir.Value],
) -> Results:
    """Record the decoder's own nodes; gives its outputs by name."""
    graph = decoder.model.graph
    values |= {value: feeds[value.name or ""] for value in graph.inputs}
    tape.section("file").copy(graph, values)
    return Results(**{value.name or "": values[value] for value in graph.outputs})


def _of_tree(
    tape: Tape,
    decoder: FileDecoder,
    inputs: Mapping[str, ir.Value],
    values: dict[ir.Value, ir.Value],
) -> list[ir.Value]:
    """A decoder that is told who sees whom; one cache may hold the prompt's entries, too."""
    if decoder.face.kind == LOOP:
        return list(_run(tape, decoder, inputs, values))
    geometry = decoder.geometry
    whole = _whole_caches(tape, inputs, geometry)
    past = cache_names("past_key_values", geometry)
    feeds = {**inputs, **dict(zip(past, whole, strict=True))}
    found = dict(_run(tape, decoder, feeds, values).items())
    axis, last = tape.constant("entries", [2]), tape.constant("last", [2**63 - 1])
    prompt_len = tape.standard("Shape", inputs["prompt.0.key"], output="prompt_len", start=2, end=3)
    present = [
        tape.standard("Slice", found[name], prompt_len, last, axis, output=f"{name}.generated")
        for name in cache_names("present", geometry)
    ]
    return [_last_logits(tape, found["logits"], inputs["last_n"]), *present]


def _whole_caches(
    tape: Tape, inputs: Mapping[str, ir.Value], geometry: KVGeometry
) -> list[ir.Value]:
    """The prompt's entries and the generated ones in one, for each layer's keys and values."""
    names = zip(cache_names("prompt", geometry), cache_names("past", geometry), strict=True)
    return [
        tape.standard("Concat", inputs[prompt], inputs[past], output=f"{past}.whole", axis=2)
        for prompt, past in names
    ]


def _last_logits(tape: Tape, logits: ir.Value, last_n: ir.Value) -> ir.Value:
    """Logits of the last tokens that are wanted; a decoder may give no others."""
    wanted = tape.standard("Neg", last_n, output="from_the_end")
    first = tape.standard("Reshape", wanted, tape.constant("one", [1]), output="first")
    axis, last = tape.constant("tokens", [1]), tape.constant("all", [2**63 - 1])
    return tape.standard("Slice", logits, first, last, axis, output="last_logits")


def _of_rows(
    tape: Tape,
    decoder: FileDecoder,
    inputs: Mapping[str, ir.Value],
    values: dict[ir.Value, ir.Value],
) -> list[ir.Value]:
    """A decoder that knows padding and text, and takes each beam as a row."""
    geometry = decoder.geometry
    is_prompt, new_ids = inputs[IS_PROMPT], inputs["input_ids"]
    row = tape.call(rows.beam_rows, new_ids, inputs["attention_bias"], inputs[KEY_SLOTS], is_prompt)
    whole = _whole_caches(tape, inputs, geometry)
    index = tape.value(rows.row_index, row.entries, whole[0], name="index")
    wanted = tape.value(rows.row_logits_wanted, inputs["last_n"], is_prompt, name="wanted")
    feeds = {
        "input_ids": row.ids,
        "attention_mask": row.mask,
        "position_ids": tape.standard(
            "Reshape", inputs["position_ids"], row.shape, output="positions"
        ),
        "cache_position": row.places,
        "num_logits_to_keep": wanted,
        **{
            name: tape.value(rows.row_past, cache, index, name=name)
            for name, cache in zip(cache_names("past_key_values", geometry), whole, strict=True)
        },
    }
    found = dict(_run(tape, decoder, feeds, values).items())
    logits = tape.value(rows.row_logits, found["logits"], wanted, new_ids, name="logits")
    present = [
        tape.value(rows.row_entries, found[name], inputs[past], row.shape, name=name)
        for name, past in zip(
            cache_names("present", geometry), cache_names("past", geometry), strict=True
        )
    ]
    return [logits, *present]
