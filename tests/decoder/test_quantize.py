"""Weights in fewer bits, in all precisions: products by hand, what is stored, what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from support.rounded_by_hand import (
    DOWN,
    HEAD,
    IDS,
    INNER,
    LAYERS,
    TABLE,
    TABLES,
    UP,
    VOCAB,
    WIDTH,
    run,
    small_decoder,
)

from beamgen import BeamgenError
from beamgen.decoder.contract import source_name
from beamgen.decoder.passes.quantize import quantize
from beamgen.quantization import rounding
from beamgen.quantization.record import BYTES

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_the_products_are_those_done_by_hand(precision: str, tied: bool) -> None:
    model = small_decoder(tied)
    record = quantize(model, precision, "u8" if precision in BYTES else "auto")
    layer, table = LAYERS[precision], TABLES[precision]
    x = table[0](TABLE)[IDS]
    for matrix, how in ((UP.T, layer), (DOWN.T, layer), (TABLE if tied else HEAD, table)):
        weight, activation = how
        x = activation(x) @ weight(np.ascontiguousarray(matrix)).T
    (found,) = run(model, {"input_ids": IDS})
    (plain,) = run(small_decoder(tied), {"input_ids": IDS})
    assert np.abs(found - plain).max() > 1e-3, "nothing was rounded"
    # a value at the border of two numbers may fall to either side, and moves its row
    assert np.median(np.abs(found - x)) < 1e-5 * np.abs(plain).max()
    assert np.abs(found - x).max() < 0.02 * np.abs(plain).max()
    assert (record.name, record.quantized[:2]) == (precision, ("up", "down"))


@pytest.mark.parametrize("precision", ["w16", "fp16", "int8", "int4"])
def test_a_tied_table_is_stored_once(precision: str) -> None:
    model = small_decoder(tied=True)
    quantize(model, precision)
    tables = [v for v in model.graph.initializers.values() if v.shape and v.shape[0] == VOCAB]
    entries = VOCAB * WIDTH
    small = {"w16": 2 * entries, "fp16": 2 * entries, "int8": entries, "int4": entries}
    scales = {"w16": 4 * VOCAB, "fp16": 0, "int8": 4 * VOCAB, "int4": 4 * VOCAB}
    assert sum(v.const_value.nbytes for v in tables) == small[precision] + scales[precision]
    floats = [v for v in model.graph.initializers.values() if v.dtype == ir.DataType.FLOAT]
    assert all("scales" in v.name or v.const_value.size == 1 for v in floats)


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_what_an_encoder_reads_is_looked_up_in_the_same_rows(precision: str) -> None:
    """Ids of either side choose from one table, masks and positions from none that is rounded."""
    model = ir.from_proto(
        parser.parse_model(
            """<ir_version: 10, opset_import: ["": 23]>
            g (int64[b, s] source_ids, int64[b, n] input_ids, int64[b, n] position_ids)
              => (float[b, s, c] read, float[b, n, c] y)
            <float[4, 4] table = {1.1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7},
             float[4, 4] places = {1.1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7},
             float[4, 4] w = {1.1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1}> {
                read = Gather(table, source_ids)
                x = Gather(table, input_ids)
                at = Gather(places, position_ids)
                sum = Add(x, at)
                y = MatMul(sum, w)
            }"""
        )
    )
    model.graph.inputs[0].name = source_name("input_ids")
    for number, node in enumerate(model.graph):
        node.name = f"node_{number}"
    record = quantize(model, precision, "u8" if precision in BYTES else "auto")
    assert record.quantized == ("w", "table")
    ids = np.array([[3, 0, 1]])
    feeds = {source_name("input_ids"): ids, "input_ids": ids, "position_ids": ids}
    weight, _ = TABLES[precision]
    table = np.array([1.1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7], np.float32).reshape(4, 4)
    np.testing.assert_allclose(run(model, feeds)[0], weight(table)[ids], rtol=1e-6)
    assert "places" in model.graph.initializers
    assert "table" not in model.graph.initializers


def test_int8_and_w16_have_standard_operators_only_and_int4_microsofts() -> None:
    kinds = {}
    for precision in ("w16", "int8", "int4"):
        model = small_decoder(tied=True)
        quantize(model, precision)
        kinds[precision] = Counter((node.domain, node.op_type) for node in model.graph)
    assert {domain for domain, _ in [*kinds["int8"], *kinds["w16"]]} == {"", "beamgen"}
    assert kinds["w16"]["", "MatMulInteger"] == 2 * kinds["w16"]["beamgen", "RoundTokensToPlanes"]
    assert kinds["int8"]["", "MatMulInteger"] == kinds["int8"]["beamgen", "RoundTokens"] == 3
    assert not kinds["int8"]["", "MatMul"] + kinds["int8"]["", "Gemm"]
    assert kinds["int4"]["com.microsoft", "MatMulNBits"] == 2
    assert kinds["int4"]["", "MatMulInteger"] == 1


def test_what_experts_are_chosen_by_stays_float32() -> None:
    """A router's result, scaled and biased as may be; what its choice weighs is rounded."""
    model = ir.from_proto(
        parser.parse_model(
            """<ir_version: 10, opset_import: ["": 23]>
            g (int64[b, n] input_ids) => (float[b, n, 2] y)
            <float[4, 2] t = {1,2,3,4,5,6,7,8}, float[2, 2] attend = {1,0,0,1},
             float[2, 2] router = {1,0,0,1}, float[2] bias = {1,2},
             float[2, 2] expert = {2,0,0,2}, int64[1] two = {2}> {
                x = Gather(t, input_ids)
                h = MatMul(x, attend)
                logits = MatMul(h, router)
                biased = Add(logits, bias)
                sizes = Shape(h)
                shaped = Reshape(biased, sizes)
                shares = Softmax(shaped)
                weights, chosen = TopK(shares, two)
                given = MatMul(h, expert)
                y = Mul(given, weights)
            }"""
        )
    )
    record = quantize(model, "int8")
    assert set(record.quantized) == {"t", "attend", "expert"}


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_layer_with_a_bias_that_is_fed_tokens_alone_is_rounded(
    precision: str, transposed: int
) -> None:
    """torch traces it as a ``Gemm`` of three inputs, which stays float32 unless it is parted."""
    bias, flat = RNG.normal(size=INNER).astype(np.float32), np.array([-1, WIDTH])
    weights = {"table": TABLE, "up": UP.T if transposed else UP, "bias": bias, "flat": flat}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["hidden"], name="embed"),
        helper.make_node("Reshape", ["hidden", "flat"], ["tokens"], name="flat"),
        helper.make_node("Gemm", ["tokens", "up", "bias"], ["y"], name="up", transB=transposed),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "new"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["tokens", INNER])],
        [numpy_helper.from_array(np.ascontiguousarray(w), name) for name, w in weights.items()],
    )
    opsets = [helper.make_opsetid("", 23)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    record = quantize(model, precision, "u8" if precision in BYTES else "auto")
    assert set(record.quantized) == {"table", "up"}
    weight, activation = LAYERS[precision]
    x = activation(TABLES[precision][0](TABLE)[IDS].reshape(-1, WIDTH))
    expected = x @ weight(np.ascontiguousarray(UP.T)).T + bias
    (found,) = run(model, {"input_ids": IDS})
    assert np.median(np.abs(found - expected)) < 1e-5 * np.abs(expected).max()
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize("precision", ["w16", "int8", "int4"])
def test_a_tokens_numbers_do_not_depend_on_its_neighbours(precision: str) -> None:
    model = small_decoder(tied=True)
    quantize(model, precision, "u8")
    (together,) = run(model, {"input_ids": IDS})
    for row, place in np.ndindex(*IDS.shape):
        (alone,) = run(model, {"input_ids": IDS[row : row + 1, place : place + 1]})
        assert np.abs(alone[0, 0] - together[row, place]).max() < 1e-6 * np.abs(together).max()


def test_a_weight_of_zeros_stays_zero() -> None:
    zeros = np.zeros((3, 40), np.float32)
    assert not rounding.from_int8_rows(zeros).any()
    assert not rounding.from_int4_blocks(zeros).any()
    assert not np.any(rounding.from_int8_planes(zeros))


def test_a_decoder_without_products_is_refused() -> None:
    text = """<ir_version: 10, opset_import: ["": 23]>
        g (int64[b, n] input_ids) => (int64[b, n] y) { y = Identity(input_ids) }"""
    with pytest.raises(BeamgenError, match="no product with a constant matrix"):
        quantize(ir.from_proto(parser.parse_model(text)), "int8")
