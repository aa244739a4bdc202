"""The exported decoder step: its contract, and the passes that clean it."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, parser
from support.architectures import ARCHITECTURES

from beamgen import BeamgenError, KVGeometry, find_adapter
from beamgen.decoder import contract
from beamgen.decoder.contrib_step import ContribStep
from beamgen.decoder.export import export_decoder
from beamgen.decoder.loop_step import LoopStep
from beamgen.decoder.passes.drop_noops import drop_noops
from beamgen.decoder.passes.fold_shapes import fold_shapes
from beamgen.decoder.passes.place_weights import place_weights
from beamgen.decoder.single_step import SingleStep
from beamgen.testing import tiny_model


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory):
    made = {}

    def make(name: str) -> ir.Model:
        if name not in made:
            adapter = find_adapter(name)
            folder = tmp_path_factory.mktemp(name)
            made[name] = export_decoder(adapter, tiny_model(adapter.tiny_config()), folder).model
        return made[name]

    return make


def _parse(text: str) -> ir.Model:
    return ir.from_proto(parser.parse_model(text))


def _reshape_targets(model: ir.Model) -> list[list[int] | None]:
    return [
        None if node.inputs[1].const_value is None else node.inputs[1].const_value.numpy().tolist()
        for node in model.graph
        if node.op_type == "Reshape"
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_shape_arithmetic_is_left_in_the_layers(name: str, decoders) -> None:
    model = decoders(name)
    kinds = Counter(node.op_type for node in model.graph)
    # what is left computes `hidden[:, -last_n:]`, and restores a tied head's rows
    assert kinds["Shape"] <= 2
    assert kinds["Unsqueeze"] - (2 if name == "phi3" else 0) <= 2
    assert not kinds["Constant"]
    assert not kinds["Identity"]
    constant = [target for target in _reshape_targets(model) if target is not None]
    assert len(constant) >= kinds["Reshape"] - 1
    assert [0, 0, 4, 16] in constant


@pytest.mark.parametrize("make_step", [LoopStep, ContribStep, SingleStep])
def test_an_export_lets_go_of_the_model(make_step, tmp_path: Path) -> None:
    """Its weights would stay in memory, beside all that comes after."""
    adapter = find_adapter("gpt2")
    model = tiny_model(adapter.tiny_config())
    exported = weakref.ref(model)
    export_decoder(adapter, model, tmp_path, make_step)
    del model
    gc.collect()
    assert exported() is None


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_attention_node_in_each_layer(name: str, decoders) -> None:
    model = decoders(name)
    attention = [node for node in model.graph if node.domain == "beamgen"]
    assert [node.op_type for node in attention] == ["SharedPromptAttention"] * 2


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_product_reads_a_stored_weight(name: str, decoders) -> None:
    """No Transpose of a weight is left to be done at run time."""
    for node in decoders(name).graph:
        if node.op_type in ("MatMul", "Gemm"):
            assert node.inputs[1].is_initializer()


def test_a_reshape_that_repeats_leading_axes_becomes_constant() -> None:
    model = _parse(
        """<ir_version: 10, opset_import: ["": 23]>
        g (float[batch, new, 64] x) => (float[batch, new, a, b] y) {
            s = Shape(x)
            zero = Constant<value_int = 0>()
            one = Constant<value_int = 1>()
            b = Gather(s, zero)
            n = Gather(s, one)
            axes = Constant<value_ints = [0]>()
            b1 = Unsqueeze(b, axes)
            n1 = Unsqueeze(n, axes)
            rest = Constant<value_ints = [-1, 16]>()
            target = Concat<axis = 0>(b1, n1, rest)
            y = Reshape(x, target)
        }"""
    )
    fold_shapes(model)
    assert _reshape_targets(model) == [[0, 0, 4, 16]]


def test_the_size_of_another_axis_is_not_mistaken_for_ones_own() -> None:
    """x's second axis is `new`, the target's is `other`: no 0 may be written there."""
    model = _parse(
        """<ir_version: 10, opset_import: ["": 23]>
        g (float[batch, new, 6] x, float[batch, other] z) => (float[a, b, c] y) {
            s = Shape(z)
            rest = Constant<value_ints = [-1]>()
            target = Concat<axis = 0>(s, rest)
            y = Reshape(x, target)
        }"""
    )
    fold_shapes(model)
    (target,) = _reshape_targets(model)
    assert target is None, "two unknowns beside the batch cannot be one constant"


def test_a_reshape_that_changes_nothing_is_bypassed() -> None:
    model = _parse(
        """<ir_version: 10, opset_import: ["": 23]>
        g (float[batch, new, 8] x) => (float[batch, new, 8] y) {
            s = Shape(x)
            r = Reshape(x, s)
            y = Relu(r)
        }"""
    )
    fold_shapes(model)
    relu = next(node for node in model.graph if node.op_type == "Relu")
    assert relu.inputs[0] is model.graph.inputs[0]


def test_folding_keeps_the_values() -> None:
    text = """<ir_version: 10, opset_import: ["": 23]>
        g (float[batch, new, 12] x) => (float[batch, h, new, d] y) {
            s = Shape(x)
            start = Constant<value_ints = [0]>()
            end = Constant<value_ints = [2]>()
            lead = Slice(s, start, end)
            heads = Constant<value_ints = [3]>()
            width = Shape<start = 2>(x)
            each = Div(width, heads)
            target = Concat<axis = 0>(lead, heads, each)
            r = Reshape(x, target)
            y = Transpose<perm = [0, 2, 1, 3]>(r)
        }"""
    x = np.arange(2 * 5 * 12, dtype=np.float32).reshape(2, 5, 12)
    before, after = _run(_parse(text), x), _run(fold_shapes(_parse(text)), x)
    assert np.array_equal(before, after)
    assert _reshape_targets(fold_shapes(_parse(text))) == [[0, 0, 3, 4]]


def test_nodes_that_hand_their_input_on_are_bypassed() -> None:
    text = """<ir_version: 10, opset_import: ["": 23]>
        g (float[batch, 8] x) => (float[batch, n] y) {
            c = Cast<to = 1>(x)
            zero = Constant<value_ints = [0]>()
            eight = Constant<value_ints = [8]>()
            four = Constant<value_ints = [4]>()
            axis = Constant<value_ints = [1]>()
            one = Constant<value_ints = [1]>()
            all = Slice(c, zero, eight, axis, one)
            none = Slice(c, eight, eight, axis)
            whole = Concat<axis = 1>(all, none)
            half = Slice(whole, zero, four, axis)
            odd = Slice(whole, zero, eight, axis, four)
            y = Concat<axis = 1>(half, odd)
        }"""
    x = np.arange(16, dtype=np.float32).reshape(2, 8)
    model = drop_noops(fold_shapes(_parse(text)))
    assert np.array_equal(_run(model, x), _run(_parse(text), x))
    half, odd = (
        node for node in model.graph if node.outputs[0].name in ("half", "odd")
    )  # what takes a part stays, and reads the input itself
    assert half.inputs[0] is odd.inputs[0] is model.graph.inputs[0]


def _run(model: ir.Model, *inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


def _two_layers(tied: bool) -> ir.Model:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(11, 4)).astype(np.float32)
    head = table if tied else rng.normal(size=(11, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["hidden"]),
        helper.make_node("Transpose", ["table" if tied else "head"], ["headT"], perm=[1, 0]),
        helper.make_node("MatMul", ["hidden", "headT"], ["logits"], name="lm_head"),
    ]
    from onnx import TensorProto, numpy_helper

    weights = {"table": table} if tied else {"table": table, "head": head}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "new"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "new", 11])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 23)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_placed_without_changing_the_product(tied: bool, tmp_path: Path) -> None:
    ids = np.array([[1, 5, 9], [0, 2, 10]])
    before = _run(_two_layers(tied), ids)
    model = place_weights(_two_layers(tied))
    assert [value.name for value in model.graph.outputs] == ["logits"]
    np.testing.assert_allclose(_run(model, ids), before, rtol=1e-6)
    kinds = Counter(node.op_type for node in model.graph)
    assert kinds["Gemm"] == int(tied)
    assert kinds["MatMul"] == int(not tied)


def test_the_contract_lists_every_violation_at_once() -> None:
    text = """<ir_version: 10, opset_import: ["": 23]>
        g (int32[batch, new] input_ids, int64[batch, 7] position_ids) =>
          (float[batch, new, 5] logits) {
            logits = RandomNormal<shape = [1, 1, 5]>()
        }"""
    with pytest.raises(BeamgenError) as error:
        contract.verify(_parse(text), contract.loop_contract(KVGeometry(2, 2, 4), 96))
    cause = error.value.cause
    assert "input input_ids is INT32, not INT64" in cause
    assert "input position_ids axis 1 is fixed at 7" in cause
    assert "output logits axis 2 is 5, not 96" in cause
    assert "'past.1.value'" in cause
    assert "'present.0.key'" in cause


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_contract_holds_for_our_adapters(name: str, decoders) -> None:
    adapter = find_adapter(name)
    geometry = adapter.kv_geometry(adapter.tiny_config())
    contract.verify(decoders(name), contract.loop_contract(geometry, 96))
    names = [value.name for value in decoders(name).graph.inputs]
    assert names[:5] == ["input_ids", "position_ids", "attention_bias", "last_n", "seq_len"]
    assert names[5:7] == ["prompt.0.key", "prompt.0.value"]


def test_a_size_that_a_run_contradicts_is_refused() -> None:
    port = contract.Port(ir.DataType.FLOAT, ("batch", 1, 96))
    promised = contract.Contract({}, {"logits": port})
    contract.verify_sizes([(7, 1, 96)], promised)
    with pytest.raises(BeamgenError, match=r"output logits has shape \[7, 1, 95\], not"):
        contract.verify_sizes([(7, 1, 95)], promised)


def test_sizes_that_the_tracer_lost_and_inputs_that_nobody_reads_are_filled_in() -> None:
    model = _parse(
        """<ir_version: 10, opset_import: ["": 23]>
        g (float[batch, new] x) => (float[batch, lost] logits) { logits = Identity(x) }"""
    )
    number = contract.Port(ir.DataType.INT64, ("batch",), need_be_read=False)
    pair = contract.Port(ir.DataType.FLOAT, ("batch", 96))
    contract.complete(model, contract.Contract({"x": pair, "unread": number}, {"logits": pair}))
    assert [value.name for value in model.graph.inputs] == ["x", "unread"]
    assert str(model.graph.outputs[0].shape) == "[batch,96]"
