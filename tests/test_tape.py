"""What a tape records, and under which names."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from beamgen.search.functions import beam_search
from beamgen.search.functions.library import functions
from beamgen.tape import Results, Tape, replace, stored


def _input(name: str, dtype: ir.DataType, rank: int) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([None] * rank))


def _run(tape: Tape, inputs: list[ir.Value], output: ir.Value, *arrays: np.ndarray) -> np.ndarray:
    output.type, output.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([None])
    graph = ir.Graph(
        inputs, [output], nodes=tape.nodes, initializers=tape.initializers,
        opset_imports={"": 23, "beamgen": 1}, name="test",
    )  # fmt: skip
    model = ir.Model(graph, ir_version=10, functions=functions(beam_search))
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    names = [value.name for value in inputs]
    return session.run(None, dict(zip(names, arrays, strict=True)))[0]


def test_results_have_the_names_under_which_a_function_returns_them() -> None:
    tape, tokens = Tape("step"), _input("tokens", ir.DataType.INT64, 3)
    lengths = tape.call(beam_search.current_length, tokens)
    assert lengths.cur_len.name == "step/cur_len"
    generated_len, cur_len = lengths
    assert (generated_len, cur_len) == (lengths.generated_len, lengths.cur_len)
    assert [node.name for node in tape.nodes] == ["step/generated_len"]
    assert _run(tape, [tokens], cur_len, np.zeros((2, 3, 5), np.int64)).tolist() == [6]


def test_one_result_is_called_after_its_function_or_as_it_is_named() -> None:
    tape, tokens = Tape("step"), _input("tokens", ir.DataType.INT64, 3)
    assert tape.value(beam_search.last_tokens, tokens).name == "step/last_tokens"
    assert tape.value(beam_search.last_tokens, tokens, name="newest").name == "step/newest"
    with pytest.raises(ValueError, match="current_length gives several results"):
        tape.value(beam_search.current_length, tokens)


def test_results_name_what_there_is_and_cannot_be_changed() -> None:
    found = Results(scores=ir.Value(name="a"), tokens=ir.Value(name="b"))
    assert [name for name, _ in found.items()] == ["scores", "tokens"]
    with pytest.raises(AttributeError, match="there is scores, tokens, and no beams"):
        _ = found.beams
    with pytest.raises(AttributeError, match="cannot be changed"):
        found.scores = ir.Value(name="c")


def _branch(tape: Tape, condition: ir.Value, x: ir.Value, other: str) -> Results:
    return tape.branch(
        condition,
        lambda side: Results(y=side.standard("Neg", x, output="negative")),
        lambda side: Results(**{other: x}),
        sides=("negated", "plain"),
    )


@pytest.mark.parametrize(("on", "expected"), [(True, [-1, -2]), (False, [1, 2])])
def test_a_branch_gives_what_both_sides_name(on: bool, expected: list[int]) -> None:
    tape = Tape("test")
    condition, x = _input("on", ir.DataType.BOOL, 0), _input("x", ir.DataType.INT64, 1)
    (found,) = _branch(tape, condition, x, "y")
    assert found.name == "test/y"
    assert _run(tape, [condition, x], found, np.array(on), np.array([1, 2])).tolist() == expected


def test_sides_that_name_other_results_are_refused() -> None:
    condition, x = _input("on", ir.DataType.BOOL, 0), _input("x", ir.DataType.INT64, 1)
    with pytest.raises(ValueError, match=r"negated gives \['y'\], plain gives \['z'\]"):
        _branch(Tape("test"), condition, x, "z")


def test_recorded_nodes_stand_in_for_a_node_of_a_graph() -> None:
    x = _input("x", ir.DataType.INT64, 1)
    old = Tape("old")
    y = old.standard("Neg", x, output="y")
    y.type, y.shape = x.type, x.shape
    graph = ir.Graph([x], [y], nodes=old.nodes, opset_imports={"": 23}, name="test")
    tape = Tape("new")
    tripled = tape.standard("Mul", x, tape.constant("three", [3]), output="tripled")
    tape.insert_before(graph[0])
    replace(y, tripled)
    assert [value.name for value in graph.outputs] == ["old/y"]
    assert [node.op_type for node in graph] == ["Mul", "Neg"]
    assert list(graph.initializers) == ["new/three"]
    assert stored(graph, ir.tensor([4], name="new/three")).const_value.numpy().tolist() == [3]
