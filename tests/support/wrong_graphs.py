"""Loop files made wrong, each in one way: what is done to the model is the docstring."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from support.onnx_functions import call_of

Mutation = Callable[[onnx.ModelProto], None]


def _function(model: onnx.ModelProto, name: str) -> onnx.FunctionProto:
    return next(f for f in model.functions if f.name == name)


def _node(nodes, *, output: str) -> onnx.NodeProto:
    return next(node for node in nodes if output in node.output)


def _insert(nodes, before: onnx.NodeProto, *added: onnx.NodeProto) -> None:
    index = list(nodes).index(before)
    for node in reversed(added):
        nodes.insert(index, node)


def wrong_length_rule(model: onnx.ModelProto) -> None:
    """Divide by (length + 1) ** penalty, as a file that counts the prompt's last token."""
    function = _function(model, "length_penalised")
    power = next(node for node in function.node if node.op_type == "Pow")
    one = helper.make_node("Constant", [], ["one_more"], value_floats=[1.0])
    cast = helper.make_node("Cast", ["one_more"], ["one_more_d"], to=onnx.TensorProto.DOUBLE)
    add = helper.make_node("Add", [power.input[0], "one_more_d"], ["longer"])
    _insert(function.node, power, one, cast, add)
    power.input[0] = "longer"


def shifted_position(model: onnx.ModelProto) -> None:
    """Every generated token stands one position too far."""
    function = _function(model, "step_inputs")
    name = function.output[1]
    node = _node(function.node, output=name)
    node.output[list(node.output).index(name)] = "right"
    one = helper.make_node("Constant", [], ["one_too_far"], value_int=1)
    shifted = helper.make_node("Add", ["right", "one_too_far"], [name])
    place = list(function.node).index(node) + 1  # before what reads it
    function.node.insert(place, shifted)
    function.node.insert(place, one)


def stale_cache_entry(model: onnx.ModelProto) -> None:
    """Compaction gathers the values of layer 0 one entry off, as a stale index would."""
    body, node = call_of(model, "kept_entries", "past.0.value")
    index = node.input[2]
    one = numpy_helper.from_array(np.array(1, np.int64), "stale_one")
    zero = numpy_helper.from_array(np.array(0, np.int64), "stale_zero")
    body.initializer.extend([one, zero])
    _insert(
        body.node,
        node,
        helper.make_node("Sub", [index, "stale_one"], ["one_off"]),
        helper.make_node("Max", ["one_off", "stale_zero"], ["stale_index"]),
    )
    node.input[2] = "stale_index"


def swapped_beam(model: onnx.ModelProto) -> None:
    """The tree believes that the two best beams descend from each other's parents."""
    body, node = call_of(model, "next_entries")
    order = numpy_helper.from_array(np.array([1, 0, 2, 3, 4], np.int64), "swapped_order")
    body.initializer.append(order)
    _insert(
        body.node,
        node,
        helper.make_node("Gather", [node.input[2], "swapped_order"], ["swapped"], axis=1),
    )
    node.input[2] = "swapped"


def ignored_min_new_tokens(model: onnx.ModelProto) -> None:
    """The processor lets an EOS through."""
    function = _function(model, "suppress")
    for node in function.node:
        for attribute in node.attribute:
            if attribute.name == "value_float" and attribute.f == float("-inf"):
                attribute.f = 0.0


def wrong_fill(model: onnx.ModelProto) -> None:
    """Finished rows are filled with pad id 0, which HF takes for unset."""
    function = _function(model, "search_mode")
    fill = _node(function.node, output=function.output[4])
    fill.input[1] = fill.input[2]


def lost_outputs(model: onnx.ModelProto) -> None:
    """The search is right, and what it returns is not."""
    function = _function(model, "finalize")
    last = _node(function.node, output=function.output[0])
    last.output[0] = "right"
    function.node.append(helper.make_node("Sub", ["right", "right"], [function.output[0]]))


def wrong_scores(model: onnx.ModelProto) -> None:
    """All scores are 0.1 too good."""
    function = _function(model, "finalize")
    for node in function.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = "right" if name == function.output[1] else name
    extra = helper.make_node("Constant", [], ["extra"], value_floats=[0.1])
    function.node.extend([extra, helper.make_node("Add", ["right", "extra"], [function.output[1]])])


def other_numbers(model: onnx.ModelProto) -> None:
    """Every row draws with the next row's seed."""
    function = _function(model, "row_seeds")
    right = _node(function.node, output=function.output[0])
    right.output[0] = "right"
    one = helper.make_node("Constant", [], ["one_more"], value_ints=[1])
    function.node.extend(
        [one, helper.make_node("Add", ["right", "one_more"], [function.output[0]])]
    )


def swapped_penalty(model: onnx.ModelProto) -> None:
    """What is above 0 is multiplied by the repetition penalty, and the rest divided."""
    function = _function(model, "repetition_penalty")
    branch = next(a.g for n in function.node for a in n.attribute if a.name == "then_branch")
    where = next(node for node in branch.node if node.op_type == "Where")
    where.input[1], where.input[2] = where.input[2], where.input[1]


def no_top_k(model: onnx.ModelProto) -> None:
    """No row is heard that asks for it."""
    function = _function(model, "top_k_in_use")
    last = _node(function.node, output=function.output[0])
    last.output[0] = "asked"
    no = helper.make_node("Not", ["asked"], ["not_asked"])
    function.node.extend([no, helper.make_node("And", ["asked", "not_asked"], function.output)])


def open_catalogue(model: onnx.ModelProto) -> None:
    """Every token may follow where an entry may end."""
    function = _function(model, "within_constraint")
    branch = next(a.g for n in function.node for a in n.attribute if a.name == "then_branch")
    add = next(node for node in branch.node if node.op_type == "Add")
    add.op_type, add.input[1] = "Max", add.input[0]


def every_end(model: onnx.ModelProto) -> None:
    """An entry of a catalogue may end with each of several EOS ids."""
    function = _function(model, "one_end")
    branch = next(a.g for n in function.node for a in n.attribute if a.name == "then_branch")
    del branch.node[:]
    branch.node.append(helper.make_node("Identity", ["scores"], [branch.output[0].name]))


def other_beam_indices(model: onnx.ModelProto) -> None:
    """Not counted over the batch."""
    function = _function(model, "numbered_in_batch")
    add = next(node for node in function.node if node.op_type == "Add")
    add.op_type, add.input[1] = "Max", add.input[0]
