"""Products of bytes: how they are stored, and whether this CPU adds them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import parser
from onnx.reference import ReferenceEvaluator
from support.rounded_by_hand import IDS, round_blocks_of_tokens, round_tokens, run, small_decoder

from beamgen import BeamgenError
from beamgen.decoder.passes import stored_bytes
from beamgen.decoder.passes.quantize import quantize
from beamgen.decoder.passes.round_tokens import RoundSomeTokens, RoundTokens
from beamgen.quantization import saturation
from beamgen.quantization.emulate import blocks_to_int8, tokens_to_uint8
from beamgen.quantization.saturation import saturates
from beamgen.tape import body, define

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
@pytest.mark.parametrize("precision", ["w16", "int8"])
def test_signed_weights_are_the_unsigned_ones_where_nothing_overflows(
    tied: bool, precision: str
) -> None:
    """In NumPy, which adds exactly whatever this CPU is."""
    found = []
    for int8_weights in ("s8", "u8"):
        model = small_decoder(tied)
        record = quantize(model, precision, int8_weights)
        assert record.int8_weights == int8_weights
        found += ReferenceEvaluator(ir.to_proto(model)).run(None, {"input_ids": IDS})
    assert np.array_equal(*found)


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
    numbers, peaks = run(model, {"x": x})
    assert numbers.shape == (tokens, 40)
    assert peaks.shape == (tokens, 1)
    if tokens:
        np.testing.assert_array_equal(peaks, np.abs(x).max(-1, keepdims=True))
        found = (numbers / np.float32(1) - 128) / 127 * peaks
        np.testing.assert_allclose(found, round_tokens(x), rtol=1e-6)


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
    numbers, peaks = run(model, {"x": x})
    assert numbers.dtype == np.uint8
    np.testing.assert_array_equal(peaks, np.abs(x).max(-1, keepdims=True))
    assert (np.abs(numbers.astype(int) - 128).max(-1) == 127)[x.any(-1)].all()
    found = tokens_to_uint8(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, (numbers / np.float32(1) - 128) / 127 * peaks, rtol=1e-6)
    np.testing.assert_allclose(found[1], round_tokens(x[1]), rtol=1e-6)
    assert not found[0, 1].any()
    np.testing.assert_allclose(
        blocks_to_int8(torch.from_numpy(x[1])).numpy(), round_blocks_of_tokens(x[1]), atol=1e-6
    )
    nothing = torch.zeros(1, 2, 40)
    assert not blocks_to_int8(nothing).any()
    assert blocks_to_int8(nothing[0, :0]).shape == (0, 40), "an expert that no token goes to"


@pytest.mark.parametrize("wrong", [True, False])
def test_auto_stores_what_this_cpu_adds_exactly(
    wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_bytes, "saturates", lambda: wrong)
    record = quantize(small_decoder(tied=True), "int8")
    assert (record.weights, record.zero_point) == (("uint8", 128) if wrong else ("int8", 0))
    assert record.saturates is wrong
    assert record.int8_weights == ("u8" if wrong else "s8")


def test_the_probe_tells_what_s8_weights_would_give() -> None:
    """Whatever this CPU is: a product of s8 weights is exact if and only if it says so."""
    model = small_decoder(tied=True)
    quantize(model, "int8", "s8")
    exact = small_decoder(tied=True)
    quantize(exact, "int8", "u8")
    found, wanted = (run(m, {"input_ids": IDS}) for m in (model, exact))
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
