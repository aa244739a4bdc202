"""The contrib backend: a decoder step becomes the subgraph of one of ONNX Runtime's operators.

    inputs -> com.microsoft::BeamSearch { decoder step } -> outputs

The decoder's weights are initializers of the main graph, which the subgraph captures:
ONNX Runtime prepacks those, and a file above 2 GB keeps them in external data.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.decoder.contract import op_cache_names
from beamgen.lora.slots import Slot
from beamgen.search.decoder_copy import DecoderCopier
from beamgen.search.functions import contrib_cache as op_cache
from beamgen.search.functions.library import functions
from beamgen.search.ports import (
    attended_window,
    parameter_inputs,
    prompt_input,
    slot_inputs,
    with_default,
)
from beamgen.settings import contrib as contrib_op
from beamgen.settings import contrib_inputs
from beamgen.settings.config import SearchConfig
from beamgen.tape import Tape

_INT32, _FLOAT = ir.DataType.INT32, ir.DataType.FLOAT


def build_contrib(
    decoder: ir.Model,
    geometry: KVGeometry,
    config: SearchConfig,
    vocab_size: int,
    attention_window: int | None = None,
    required: Collection[str] = (),
    slots: Sequence[Slot] = (),
) -> ir.Model:
    """Wrap a decoder in ``BeamSearch``, ``GreedySearch`` or ``Sampling``.

    Args:
        decoder: holds ``contract.contrib_contract``; read, not changed. Its weights
            are shared with the result.
        geometry: the decoder's caches.
        config: chooses the operator, gives its attributes and its inputs' defaults.
        vocab_size: V.
        attention_window: tokens a position sees, itself included, or None.
        required: parameters that get no default; ``lora`` stands for the slots.
        slots: the linear layers that take a LoRA; their A and B become inputs too.

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
    contrib_op.check_honoured(config)
    op = contrib_op.op_type(config)
    main = Tape("search")
    input_ids = prompt_input("input_ids", "the prompts, left-padded", _INT32)
    attention_mask = prompt_input("attention_mask", "0 on padding, 1 on text", _INT32)
    parameters = parameter_inputs(
        contrib_op.parameters(op, vocab_size),
        contrib_inputs.inputs(config.for_prompt(1), 1, vocab_size),
        {*required, *contrib_inputs.without_default(config)},
    )
    lora = slot_inputs(slots, 1, required)
    copy = DecoderCopier(decoder.graph, lora)
    masks = {**parameters, "prefix_vocab_mask": _for_each_row(main, parameters, input_ids)}
    outputs = _outputs(op)
    main.node(
        op,
        _in_order(op, {**masks, "input_ids": input_ids, "attention_mask": attention_mask}),
        outputs,
        {
            **contrib_inputs.attributes(config, vocab_size),
            "decoder": _subgraph(main, copy, geometry, parameters, attention_window, vocab_size),
        },
        domain=contrib_op.DOMAIN,
    )
    graph = ir.Graph(
        [input_ids, attention_mask, *parameters.values(), *lora.values()],
        outputs,
        nodes=main.nodes,
        initializers=[
            *copy.weights,
            *with_default([*parameters.values(), *lora.values()]),
            *main.initializers,
        ],
        opset_imports={**decoder.opset_imports, contrib_op.DOMAIN: 1},
        name="beam_search",
    )
    return ir.Model(
        graph,
        ir_version=decoder.ir_version,
        producer_name="beamgen",
        functions=[*decoder.functions.values(), *functions(op_cache)],
    )


def _for_each_row(tape: Tape, parameters: Mapping[str, ir.Value], input_ids: ir.Value) -> ir.Value:
    """The mask of first tokens ``[1 or B, V]`` as the operator wants it, ``[B, V]``."""
    batch = tape.standard("Shape", input_ids, output="batch", end=1)
    shape = tape.standard("Concat", batch, tape.constant("one", [1]), output="rows", axis=0)
    mask = parameters["prefix_vocab_mask"]
    return tape.standard("Expand", mask, shape, output="prefix_vocab_mask")


def _in_order(op: str, values: Mapping[str, ir.Value]) -> list[ir.Value | None]:
    """The operator's inputs: all that it has up to the last one used."""
    beams = ["num_beams", "num_return_sequences", "length_penalty"]
    names = [
        "input_ids",
        "max_length",
        "min_length",
        *(beams if op == contrib_op.BEAM_SEARCH else []),
        "repetition_penalty",
        "vocab_mask",
        "prefix_vocab_mask",
        "attention_mask",
    ]
    if op == contrib_op.SAMPLING:
        names += ["presence_mask", "seed"]
    return [values.get(name) for name in names]


def _outputs(op: str) -> list[ir.Value]:
    beams = ("num_return_sequences",) if op == contrib_op.BEAM_SEARCH else ()
    sequences = ir.Value(
        name="sequences",
        type=ir.TensorType(_INT32),
        shape=ir.Shape(["batch", *beams, "max_length"]),
        doc_string="prompt + generated ids, filled with pad_token_id up to max_length",
    )
    scores = ir.Value(
        name="sequences_scores",
        type=ir.TensorType(_FLOAT),
        shape=ir.Shape(["batch", *beams]),
        doc_string="the operator's score: summed log-probability / tokens ** length_penalty",
    )
    return [sequences, scores] if beams else [sequences]


def _subgraph(
    main: Tape,
    copy: DecoderCopier,
    geometry: KVGeometry,
    parameters: Mapping[str, ir.Value],
    attention_window: int | None,
    vocab_size: int,
) -> ir.Graph:
    """The decoder step behind the inputs and outputs that the operator demands."""
    cache = (2, "rows", geometry.num_kv_heads, "past_len", geometry.head_dim)
    ids = _value("input_ids", _INT32, ("rows", "new"))
    positions = _value("position_ids", _INT32, ("rows", "new"))
    mask = _value("attention_mask", _INT32, ("rows", "attended"))
    past = [_value(name, _FLOAT, cache) for name in op_cache_names("past", geometry)]
    beams = main.constant("one_beam", [1])
    if "num_beams" in parameters:
        beams = main.standard(
            "Cast", parameters["num_beams"], output="num_beams", to=ir.DataType.INT64
        )
    tape = Tape("step")
    names = [
        "input_ids",
        "position_ids",
        "attention_bias",
        "row_of_copy",
        "key_rows",
        "value_rows",
        "flat_shape",
    ]
    own = tape.call(
        op_cache.op_inputs,
        *(ids, mask, past[0], beams),
        attended_window(main, attention_window),
        outputs=" ".join(names),
    )
    caches = {value.name or "": value for value in past}
    logits, present = copy(
        tape.section("decoder"), {**dict(zip(names, own, strict=True)), **caches}
    )
    _declare(logits, "logits", ("rows", 1, vocab_size))
    for value, name in zip(present, op_cache_names("present", geometry), strict=True):
        _declare(value, name, (2, "rows", geometry.num_kv_heads, "attended", geometry.head_dim))
    return ir.Graph(
        [ids, positions, mask, *past], [logits, *present], nodes=tape.nodes, name="decoder_step"
    )


def _value(name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


def _declare(value: ir.Value, name: str, shape: Sequence[int | str]) -> None:
    value.name, value.dtype, value.shape = name, _FLOAT, ir.Shape(shape)
