"""Weights in fewer bits: each product by hand, what is stored, what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, parser, shape_inference
from onnx.reference import ReferenceEvaluator
from transformers.pytorch_utils import Conv1D

from beamgen import BeamgenError, find_adapter
from beamgen.checkpoint.checkpoint import demo_checkpoint, open_checkpoint
from beamgen.decoder.contract import source_name
from beamgen.decoder.passes import stored_bytes
from beamgen.decoder.passes.place_weights import place_weights
from beamgen.decoder.passes.quantize import quantize
from beamgen.decoder.passes.round_tokens import RoundSomeTokens, RoundTokens, RoundTokensToPlanes
from beamgen.export.texts import texts_of
from beamgen.quantization import rounding, saturation
from beamgen.quantization.emulate import (
    blocks_to_int8,
    emulate,
    tokens_to_planes,
    tokens_to_uint8,
)
from beamgen.quantization.record import Precision, Quality, Wanted
from beamgen.quantization.saturation import saturates
from beamgen.tape import body, define

VOCAB, WIDTH, INNER = 50, 40, 64  # 40 fills its second block of 32 with zeros
IDS = np.array([[3, 7, 49, 0], [1, 1, 2, 30]])
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(VOCAB, WIDTH)).astype(np.float32)
UP = RNG.normal(size=(WIDTH, INNER)).astype(np.float32)
DOWN = RNG.normal(size=(INNER, WIDTH)).astype(np.float32)
HEAD = RNG.normal(size=(VOCAB, WIDTH)).astype(np.float32)


def _model(tied: bool) -> ir.Model:
    """A token's row, up, down, and a head, tied or not."""
    head = "table" if tied else "head"
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["hidden"], name="embed"),
        helper.make_node("MatMul", ["hidden", "up"], ["inner"], name="up"),
        helper.make_node("MatMul", ["inner", "down"], ["out"], name="down"),
        helper.make_node("Transpose", [head], ["headT"], perm=[1, 0]),
        helper.make_node("MatMul", ["out", "headT"], ["logits"], name="lm_head"),
    ]
    weights = {"table": TABLE, "up": UP, "down": DOWN} | ({} if tied else {"head": HEAD})
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "new"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "new", VOCAB])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 23)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return place_weights(ir.from_proto(shape_inference.infer_shapes(proto)))


def _run(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def _tokens(x: np.ndarray) -> np.ndarray:
    """Each row by its own scale, and back."""
    scale = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    return (np.rint(x / scale) * scale).astype(np.float32)


def _blocks(x: np.ndarray) -> np.ndarray:
    """MLAS's rounding of each 32 of a row, and back."""
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % 32)])
    blocks = padded.reshape(*x.shape[:-1], -1, 32)
    peak = np.abs(blocks).max(axis=-1, keepdims=True)
    rounded = np.rint(blocks * (127 / peak)) * (peak / 127)
    return rounded.reshape(padded.shape)[..., : x.shape[-1]].astype(np.float32)


def _by_rows(weight: np.ndarray, levels: int = 127) -> np.ndarray:
    scale = np.abs(weight).max(axis=1, keepdims=True) / levels
    return np.rint(weight / scale) * scale


def _by_blocks(weight: np.ndarray) -> np.ndarray:
    """Each 32 of a row, the largest of which is -8 or 8 times the scale."""
    padded = np.pad(weight, ((0, 0), (0, -weight.shape[1] % 32))).reshape(len(weight), -1, 32)
    peak = np.take_along_axis(padded, np.abs(padded).argmax(-1)[..., None], axis=-1)
    scale = peak / -8
    return (
        (np.clip(np.rint(padded / scale), -8, 7) * scale)
        .reshape(len(weight), -1)[:, : weight.shape[1]]
        .astype(np.float32)
    )


_HALF = (lambda w: w.astype(np.float16).astype(np.float32), lambda x: x)
_BY_HAND = {"fp16": _HALF, "int8": (_by_rows, _tokens), "int4": (_by_blocks, _blocks)}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_the_products_are_those_done_by_hand(precision: str, tied: bool) -> None:
    model = _model(tied)
    record = quantize(model, precision, "u8" if precision == "int8" else "auto")
    weight, activation = _BY_HAND[precision]
    x = weight(TABLE)[IDS]
    for matrix in (UP.T, DOWN.T, TABLE if tied else HEAD):
        x = activation(x) @ weight(np.ascontiguousarray(matrix)).T
    (found,) = _run(model, {"input_ids": IDS})
    (plain,) = _run(_model(tied), {"input_ids": IDS})
    assert np.abs(found - plain).max() > 1e-3, "nothing was rounded"
    # a value at the border of two numbers may fall to either side, and moves its row
    assert np.median(np.abs(found - x)) < 1e-5 * np.abs(plain).max()
    assert np.abs(found - x).max() < 0.02 * np.abs(plain).max()
    assert (record.name, record.quantized[:2]) == (precision, ("up", "down"))


def _two_planes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row in steps of a 127th of its peak, and what that leaves in steps of 1/254 of those."""
    step = np.abs(values).max(axis=-1, keepdims=True) / np.float32(127)
    shares = values / step
    first = np.rint(shares)
    return first * step, np.rint((shares - first) * 254) / 254 * step


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
@pytest.mark.parametrize("int8_weights", ["s8", "u8"])
def test_products_in_two_planes_are_those_done_by_hand(tied: bool, int8_weights: str) -> None:
    """Three of the four products of planes, in NumPy, which adds exactly whatever this CPU is."""
    model = _model(tied)
    record = quantize(model, "w16", int8_weights)
    assert (record.name, record.int8_weights) == ("w16", int8_weights)
    x = sum(_two_planes(TABLE))[IDS]
    for matrix in (UP.T, DOWN.T, TABLE if tied else HEAD):
        (a, b), (c, d) = _two_planes(x), _two_planes(matrix)
        x = a @ c.T + b @ c.T + a @ d.T
    (found,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"input_ids": IDS})
    (plain,) = _run(_model(tied), {"input_ids": IDS})
    assert np.abs(found - x).max() < 2e-4 * np.abs(plain).max(), "at a border, a step of 1/254"
    assert np.median(np.abs(found - x)) < 1e-6 * np.abs(plain).max()
    assert 1e-6 < np.linalg.norm(found - plain) / np.linalg.norm(plain) < 1e-3


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
@pytest.mark.parametrize("precision", ["w16", "int8"])
def test_signed_weights_are_the_unsigned_ones_where_nothing_overflows(
    tied: bool, precision: str
) -> None:
    """In NumPy, which adds exactly whatever this CPU is."""
    found = []
    for int8_weights in ("s8", "u8"):
        model = _model(tied)
        record = quantize(model, precision, int8_weights)
        assert record.int8_weights == int8_weights
        found += ReferenceEvaluator(ir.to_proto(model)).run(None, {"input_ids": IDS})
    assert np.array_equal(*found)


@pytest.mark.parametrize("precision", ["w16", "fp16", "int8", "int4"])
def test_a_tied_table_is_stored_once(precision: str) -> None:
    model = _model(tied=True)
    quantize(model, precision)
    tables = [v for v in model.graph.initializers.values() if v.shape and v.shape[0] == VOCAB]
    entries = VOCAB * WIDTH
    small = {"w16": 2 * entries, "fp16": 2 * entries, "int8": entries, "int4": VOCAB * 64 // 2}
    scales = {"w16": 4 * VOCAB, "fp16": 0, "int8": 4 * VOCAB, "int4": 4 * 2 * VOCAB}
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
    record = quantize(model, precision, "u8" if precision == "int8" else "auto")
    assert record.quantized == ("w", "table")
    ids = np.array([[3, 0, 1]])
    feeds = {source_name("input_ids"): ids, "input_ids": ids, "position_ids": ids}
    weight, _ = _BY_HAND[precision]
    table = np.array([1.1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7], np.float32).reshape(4, 4)
    np.testing.assert_allclose(_run(model, feeds)[0], weight(table)[ids], rtol=1e-6)
    assert "places" in model.graph.initializers
    assert "table" not in model.graph.initializers


def test_int8_and_w16_have_standard_operators_only_and_int4_microsofts() -> None:
    kinds = {}
    for precision in ("w16", "int8", "int4"):
        model = _model(tied=True)
        quantize(model, precision)
        kinds[precision] = Counter((node.domain, node.op_type) for node in model.graph)
    assert {domain for domain, _ in [*kinds["int8"], *kinds["w16"]]} == {"", "beamgen"}
    assert kinds["w16"]["", "MatMulInteger"] == 2 * kinds["w16"]["beamgen", "RoundTokensToPlanes"]
    assert kinds["int8"]["", "MatMulInteger"] == kinds["int8"]["beamgen", "RoundTokens"] == 3
    assert not kinds["int8"]["", "MatMul"] + kinds["int8"]["", "Gemm"]
    assert kinds["int4"]["com.microsoft", "MatMulNBits"] == 3
    assert kinds["int4"]["com.microsoft", "GatherBlockQuantized"] == 1


@pytest.mark.parametrize("precision", ["w16", "int8"])
def test_what_several_products_read_is_rounded_once(precision: str) -> None:
    model = ir.from_proto(
        parser.parse_model(
            """<ir_version: 10, opset_import: ["": 23]>
            g (int64[b, n] input_ids) => (float[b, n, 4] a, float[b, n, 4] b)
            <float[8, 4] t = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,
             25,26,27,28,29,30,31,32}, float[4, 4] v = {1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1},
             float[4, 4] w = {2,0,0,0,0,2,0,0,0,0,2,0,0,0,0,2}> {
                x = Gather(t, input_ids)
                a = MatMul(x, v)
                b = MatMul(x, w)
            }"""
        )
    )
    quantize(model, precision)
    assert Counter(node.domain for node in model.graph)["beamgen"] == 1


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


@pytest.mark.parametrize("tokens", [0, 3])
def test_an_expert_may_have_no_tokens(tokens: int) -> None:
    """ONNX Runtime reduces nothing to nothing, and not to a peak for each of no tokens."""
    x = RNG.normal(size=(tokens, 40)).astype(np.float32)
    model = ir.from_proto(
        parser.parse_model(
            """<ir_version: 10, opset_import: ["": 23, "beamgen": 1]>
            g (float[t, c] x) => (uint8[t, c] q, float[t, one] s) {
                q, s = beamgen.RoundSomeTokens(x)
            }"""
        )
    )
    define(model, [body(RoundSomeTokens)])
    numbers, peaks = _run(model, {"x": x})
    assert numbers.shape == (tokens, 40)
    assert peaks.shape == (tokens, 1)
    if tokens:
        np.testing.assert_array_equal(peaks, np.abs(x).max(-1, keepdims=True))
        found = (numbers / np.float32(1) - 128) / 127 * peaks
        np.testing.assert_allclose(found, _tokens(x), rtol=1e-6)


@pytest.mark.parametrize("tokens", [0, 3])
def test_an_expert_in_two_planes_may_have_no_tokens(tokens: int) -> None:
    """ONNX Runtime does not split nothing into two."""
    weight = RNG.normal(size=(40, 24)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="expert")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["tokens", 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["tokens", 24])],
        [numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 23)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    quantize(model, "w16", "u8")
    x = RNG.normal(size=(tokens, 40)).astype(np.float32)
    (found,) = _run(model, {"x": x})
    assert found.shape == (tokens, 24)
    np.testing.assert_allclose(found, x @ weight, atol=2e-3)


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
    record = quantize(model, precision, "u8" if precision == "int8" else "auto")
    assert set(record.quantized) == {"table", "up"}
    weight, activation = _BY_HAND[precision]
    x = activation(weight(TABLE)[IDS].reshape(-1, WIDTH))
    expected = x @ weight(np.ascontiguousarray(UP.T)).T + bias
    (found,) = _run(model, {"input_ids": IDS})
    assert np.median(np.abs(found - expected)) < 1e-5 * np.abs(expected).max()
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_activations_are_rounded_as_emulated() -> None:
    x = RNG.normal(size=(2, 5, 40)).astype(np.float32) * 3 + 1
    x[0, 1] = 0
    model = ir.from_proto(
        parser.parse_model(
            """<ir_version: 10, opset_import: ["": 23, "beamgen": 1]>
            g (float[a, b, c] x) => (uint8[a, b, c] q, float[a, b, one] s) {
                q, s = beamgen.RoundTokens(x)
            }"""
        )
    )
    define(model, [body(RoundTokens)])
    numbers, peaks = _run(model, {"x": x})
    assert numbers.dtype == np.uint8
    np.testing.assert_array_equal(peaks, np.abs(x).max(-1, keepdims=True))
    assert (np.abs(numbers.astype(int) - 128).max(-1) == 127)[x.any(-1)].all()
    found = tokens_to_uint8(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, (numbers / np.float32(1) - 128) / 127 * peaks, rtol=1e-6)
    np.testing.assert_allclose(found[1], _tokens(x[1]), rtol=1e-6)
    assert not found[0, 1].any()
    np.testing.assert_allclose(
        blocks_to_int8(torch.from_numpy(x[1])).numpy(), _blocks(x[1]), atol=1e-6
    )
    nothing = torch.zeros(1, 2, 40)
    assert not blocks_to_int8(nothing).any()
    assert blocks_to_int8(nothing[0, :0]).shape == (0, 40), "an expert that no token goes to"


def test_two_planes_of_activations_are_rounded_as_emulated() -> None:
    x = RNG.normal(size=(2, 5, 40)).astype(np.float32) * 3 + 1
    x[0, 1] = 0
    model = ir.from_proto(
        parser.parse_model(
            """<ir_version: 10, opset_import: ["": 23, "beamgen": 1]>
            g (float[a, b, c] x) => (uint8[a, b, c] f, uint8[d, b, c] t, float[a, b, one] s) {
                f, t, s = beamgen.RoundTokensToPlanes(x)
            }"""
        )
    )
    define(model, [body(RoundTokensToPlanes)])
    first, both, peaks = _run(model, {"x": x})
    np.testing.assert_array_equal(first, both[:2])
    fine = (both.astype(np.float32) - 128) / 127 * np.concatenate([peaks, peaks / 254])
    found = [each.numpy() for each in tokens_to_planes(torch.from_numpy(x))]
    assert not np.any([plane[0, 1] for plane in found])
    np.testing.assert_allclose(found[0], fine[:2], rtol=1e-6)
    step = np.abs(x).max() / 127 / 254
    assert np.abs(found[1] - fine[2:]).max() < 1.01 * step, "at a border, a step"
    assert (np.abs(found[1] - fine[2:]) < 0.01 * step).mean() > 0.98
    np.testing.assert_allclose(fine[:2] + fine[2:], x, atol=0.6 * step)


class _Transposed(torch.nn.Module):
    """A layer that multiplies as Falcon's do."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.T


def _linear(weight: torch.Tensor) -> torch.nn.Module:
    layer = torch.nn.Linear(*weight.T.shape)
    layer.weight.data, layer.bias.data = weight, torch.zeros(len(weight))
    return layer


def _conv(weight: torch.Tensor) -> torch.nn.Module:
    layer = Conv1D(*weight.shape)
    layer.weight.data = weight.T.contiguous()
    return layer


@pytest.mark.parametrize("layer", [_Transposed, _linear, _conv])
def test_hf_leaves_out_the_product_of_second_planes(
    layer: Callable[[torch.Tensor], torch.nn.Module],
) -> None:
    """Whichever function of torch a layer multiplies by."""
    weight, x = HEAD.copy(), RNG.normal(size=(2, 3, WIDTH)).astype(np.float32)
    (a, b), (c, d) = _two_planes(x), _two_planes(weight)
    wanted = a @ c.T + b @ c.T + a @ d.T
    with_fourth = wanted + b @ d.T
    model = emulate(
        layer(torch.from_numpy(weight)),
        Precision("w16", "int8", 0, activations="two planes", quantized=("weight",)),
    )
    with torch.no_grad():
        found = model(torch.from_numpy(x)).numpy()
    assert np.median(np.abs(found - wanted)) < np.median(np.abs(with_fourth - wanted)) / 10


@pytest.mark.parametrize("precision", ["w16", "int8", "int4"])
def test_a_tokens_numbers_do_not_depend_on_its_neighbours(precision: str) -> None:
    model = _model(tied=True)
    quantize(model, precision, "auto" if precision == "int4" else "u8")
    (together,) = _run(model, {"input_ids": IDS})
    for row, place in np.ndindex(*IDS.shape):
        (alone,) = _run(model, {"input_ids": IDS[row : row + 1, place : place + 1]})
        assert np.abs(alone[0, 0] - together[row, place]).max() < 1e-6 * np.abs(together).max()


def test_a_weight_of_zeros_stays_zero() -> None:
    zeros = np.zeros((3, 40), np.float32)
    assert not rounding.from_int8_rows(zeros).any()
    assert not rounding.from_int4_blocks(zeros).any()
    assert not np.any(rounding.from_int8_planes(zeros))


@pytest.mark.parametrize("wrong", [True, False])
def test_auto_stores_what_this_cpu_adds_exactly(
    wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_bytes, "saturates", lambda: wrong)
    record = quantize(_model(tied=True), "int8")
    assert (record.weights, record.zero_point) == (("uint8", 128) if wrong else ("int8", 0))
    assert record.saturates is wrong
    assert record.int8_weights == ("u8" if wrong else "s8")


def test_the_probe_tells_what_s8_weights_would_give() -> None:
    """Whatever this CPU is: a product of s8 weights is exact if and only if it says so."""
    model = _model(tied=True)
    quantize(model, "int8", "s8")
    exact = _model(tied=True)
    quantize(exact, "int8", "u8")
    found, wanted = (_run(m, {"input_ids": IDS}) for m in (model, exact))
    assert saturates() != np.allclose(found, wanted, atol=1e-4)


def test_a_file_that_overflows_here_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saturation, "saturates", lambda: True)
    assert "overflow" in (saturation.inexact("int8") or "")
    assert saturation.inexact("uint8") is None
    with pytest.raises(BeamgenError) as error:
        saturation.check_exact("int8")
    assert "--int8-weights u8" in error.value.cure
    monkeypatch.setattr(saturation, "saturates", lambda: False)
    assert saturation.inexact("int8") is None


@pytest.mark.parametrize(
    ("wanted", "cause"),
    [
        ({"name": "int5"}, "there is no precision called 'int5'"),
        ({"name": "int8", "int8_weights": "s9"}, "there is no kind of int8 weights called 's9'"),
        ({"name": "int4", "int8_weights": "u8"}, "were asked for with precision int4"),
        ({"text": Path("x")}, "fp32 rounds nothing"),
    ],
)
def test_what_is_no_precision_is_refused(wanted: dict, cause: str) -> None:
    with pytest.raises(BeamgenError) as error:
        Wanted(**wanted)
    assert cause in error.value.cause


def test_a_decoder_without_products_is_refused() -> None:
    text = """<ir_version: 10, opset_import: ["": 23]>
        g (int64[b, n] input_ids) => (int64[b, n] y) { y = Identity(input_ids) }"""
    with pytest.raises(BeamgenError, match="no product with a constant matrix"):
        quantize(ir.from_proto(parser.parse_model(text)), "int8")


def test_a_record_survives_its_file() -> None:
    quality = Quality("text", 10, 3.5, 3.6, 0.95)
    record = Precision("int8", "uint8", 128, quantized=("a.weight",), noise=0.1, quality=quality)
    assert Precision.from_json(record.to_json() | {"quantized": ["a.weight"]}) == record
    assert "95.0 % of 10 places" in str(quality)
    assert "not measured" in str(Quality())


def test_texts_are_read_or_refused(checkpoints, tmp_path: Path) -> None:
    adapter = find_adapter("gpt2")
    demo, bare = demo_checkpoint(adapter), open_checkpoint(checkpoints("gpt2"))
    held_out = texts_of(Wanted("int8"), demo, adapter)
    assert held_out is not None
    assert len(held_out.rows) == 256
    assert texts_of(Wanted("fp32"), demo, adapter) is None
    assert texts_of(Wanted("int8"), bare, adapter) is None
    chat = texts_of(Wanted("int8"), demo_checkpoint(find_adapter("phi3")), find_adapter("phi3"))
    assert chat is not None
    assert all(row[-1] == 1275 for row in chat.rows), "each ends a turn"
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "text.txt").write_text("a bird\n")
    (tmp_path / "chat.txt").write_text('[{"role": 1\n')
    for name, checkpoint, cause in (
        ("none.txt", demo, "cannot read the text"),
        ("empty.txt", demo, "holds no text"),
        ("chat.txt", demo, "line 1 of"),
        ("text.txt", bare, "has no tokenizer"),
    ):
        with pytest.raises(BeamgenError) as error:
            texts_of(Wanted("int8", text=tmp_path / name), checkpoint, adapter)
        assert cause in error.value.cause
