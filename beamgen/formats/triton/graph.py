"""A loop file for a server that joins requests into batches.

Such a server concatenates the inputs of its requests along their first axis and splits
the outputs again. So what it feeds has a value for each row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from beamgen.formats.triton.ports import PROMPT_LENGTHS
from beamgen.search.functions import batching
from beamgen.search.functions.library import functions
from beamgen.tape import Tape, define

if TYPE_CHECKING:
    from onnxscript import OnnxFunction

Values = Mapping[str, npt.NDArray[np.generic]]


def set_inputs(
    model: ir.Model, values: Values, per_row: Collection[str], outputs: Collection[str]
) -> ir.Model:
    """Give a file other defaults, and none to what each row gives.

    A server feeds no input that it does not know, so a default is then a constant. It
    does not become one in the file: ONNX Runtime 1.31.1 inlines the branch of an If whose
    condition is constant, mixes up names where branches are nested, and refuses the file.

    Args:
        model: the loop backend's; read, not changed. The weights are shared.
        values: of every input but the prompts, ``num_return_sequences`` among them.
        per_row: the inputs that get no default, and have a value for each row of the batch.
        outputs: those that are kept.

    Returns:
        A model that needs ``input_ids``, ``attention_mask`` and what is ``per_row``.
    """
    model = model.clone()
    graph = model.graph
    for value in graph.inputs:
        name = value.name or ""
        if name in per_row:
            graph.initializers.pop(name, None)
            value.const_value = None
            value.shape = ir.Shape(["batch", *tuple(value.shape or ())[1:]])
        elif name in values:
            value.const_value = ir.tensor(values[name], name=name)
            graph.initializers[name] = value
    for output in list(graph.outputs):
        if output.name not in outputs:
            graph.outputs.remove(output)
            continue
        returned = int(values["num_return_sequences"][0])
        output.shape = ir.Shape(["batch", returned, *tuple(output.shape or ())[2:]])
    return model


def join_prompts(model: ir.Model, pad_token_id: int, fill_token_id: int) -> ir.Model:
    """Take prompts of unequal length one after the other, and pad them in the file.

    Args:
        model: with ``input_ids``, ``attention_mask`` and ``sequences``; read, not changed.
        pad_token_id: stands before the shorter prompts, unseen.
        fill_token_id: follows the shorter sequences.

    Returns:
        A model with ``input_ids`` ``[tokens]`` of all rows and ``prompt_lengths`` int32
        ``[batch, 1]`` in place of the two; its ``sequences`` begin with their prompts.
    """
    model = model.clone()
    graph = model.graph
    wide = _pad(graph, batching.left_padded, pad_token_id)
    after = Tape("aligned")
    (sequences,) = (value for value in graph.outputs if value.name == "sequences")
    place, shape = list(graph.outputs).index(sequences), sequences.shape
    sequences.name = "search/sequences"
    fill = after.constant("fill_token_id", [fill_token_id])
    aligned = after.value(batching.left_aligned, sequences, wide, fill)
    aligned.name, aligned.shape = "sequences", shape
    aligned.type = ir.TensorType(ir.DataType.INT64)
    after.append_to(graph)
    graph.outputs[place] = aligned
    define(model, functions(batching))
    return model


def join_sources(model: ir.Model, pad_token_id: int) -> ir.Model:
    """Take sources of unequal length one after the other, and pad them in the file.

    Args:
        model: of an encoder-decoder, with ``input_ids`` and ``attention_mask``; read, not changed.
        pad_token_id: stands behind the shorter sources, unseen.

    Returns:
        A model with ``input_ids`` ``[tokens]`` of all rows and ``prompt_lengths`` int32
        ``[batch, 1]`` in place of the two.
    """
    model = model.clone()
    _pad(model.graph, batching.right_padded, pad_token_id)
    define(model, functions(batching))
    return model


def _pad(graph: ir.Graph, padded: OnnxFunction[Any, Any], pad_token_id: int) -> ir.Value:
    """Give rows that follow one another to what reads padded ones; returns int64 lengths."""
    old = {value.name: value for value in graph.inputs}
    input_ids, mask = old["input_ids"], old["attention_mask"]
    tokens = ir.Value(
        name="input_ids",
        type=ir.TensorType(ir.DataType.INT64),
        shape=ir.Shape(["tokens"]),
        doc_string="the prompts, one after the other",
    )
    lengths = ir.Value(
        name=PROMPT_LENGTHS,
        type=ir.TensorType(ir.DataType.INT32),
        shape=ir.Shape(["batch", 1]),
        doc_string="how many tokens each prompt has",
    )
    before = Tape("prompts")
    wide = before.standard("Cast", lengths, output="lengths", to=ir.DataType.INT64)
    rows = before.call(padded, tokens, wide, before.constant("pad_token_id", [pad_token_id]))
    rest = [value for value in graph.inputs if value not in (input_ids, mask)]
    for value, new in zip((input_ids, mask), rows, strict=True):
        new.type, new.shape = value.type, value.shape
        value.replace_all_uses_with(new)
    graph.inputs[:] = [tokens, lengths, *rest]
    before.insert_before(graph[0])
    return wide


def check_sources(model: ir.Model, longest: int | None) -> ir.Model:
    """Let a run fail, in a node whose name tells why, where a source is empty or too long.

    What an encoder makes of no token at all is no answer; of too many it would be an index that
    some table of positions lacks.

    Args:
        model: of an encoder-decoder, with ``attention_mask``; read, not changed.
        longest: tokens that the encoder has positions for; None where any number will do.
    """
    model = model.clone()
    graph = model.graph
    (mask,) = (value for value in graph.inputs if value.name == "attention_mask")
    uses, tape = list(mask.uses()), Tape("sources")
    nothing, one = tape.constant("nothing", [0]), tape.constant("one", [1])
    tokens = tape.standard("ReduceSum", mask, one, output="tokens", keepdims=0)
    least = tape.standard("ReduceMin", tokens, output="least", keepdims=1)
    empty = tape.standard("Cast", tape.standard("Less", least, one, output="is_empty"),
                          output="empty", to=ir.DataType.INT64)  # fmt: skip
    # an index of 1 is none of the one element
    checked = [tape.standard("Gather", nothing, empty, output="every_source_needs_a_token")]
    if longest is not None:
        size = tape.standard("Shape", mask, output="size", start=1, end=2)
        above = tape.standard("Greater", size, tape.constant("longest", [longest]), output="above")
        long = tape.standard("Cast", above, output="long", to=ir.DataType.INT64)
        name = f"no_source_may_have_more_than_{longest}_tokens"
        checked.append(tape.standard("Gather", nothing, long, output=name))
    seen = mask
    for place, nought in enumerate(checked):
        seen = tape.standard("Add", seen, nought, output=f"attention_mask.{place}")
    seen.type, seen.shape = mask.type, mask.shape
    for node, index in uses:
        node.replace_input_with(index, seen)
    tape.insert_before(graph[0])
    return model
