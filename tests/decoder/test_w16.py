"""Weights and activations in two planes of bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator
from support.rounded_by_hand import (
    DOWN,
    HEAD,
    IDS,
    TABLE,
    UP,
    WIDTH,
    run,
    small_decoder,
    two_planes,
)
from transformers.pytorch_utils import Conv1D

from beamgen.decoder.passes.quantize import quantize
from beamgen.decoder.passes.round_tokens import RoundTokensToPlanes
from beamgen.quantization.emulate import emulate, tokens_to_planes
from beamgen.quantization.record import Precision
from beamgen.tape import body, define

RNG = np.random.default_rng(2)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
@pytest.mark.parametrize("int8_weights", ["s8", "u8"])
def test_products_in_two_planes_are_those_done_by_hand(tied: bool, int8_weights: str) -> None:
    """Three of the four products of planes, in NumPy, which adds exactly whatever this CPU is."""
    model = small_decoder(tied)
    record = quantize(model, "w16", int8_weights)
    assert (record.name, record.int8_weights) == ("w16", int8_weights)
    x = sum(two_planes(TABLE))[IDS]
    for matrix in (UP.T, DOWN.T, TABLE if tied else HEAD):
        (a, b), (c, d) = two_planes(x), two_planes(matrix)
        x = a @ c.T + b @ c.T + a @ d.T
    (found,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"input_ids": IDS})
    (plain,) = run(small_decoder(tied), {"input_ids": IDS})
    assert np.abs(found - x).max() < 2e-4 * np.abs(plain).max(), "at a border, a step of 1/254"
    assert np.median(np.abs(found - x)) < 1e-6 * np.abs(plain).max()
    assert 1e-6 < np.linalg.norm(found - plain) / np.linalg.norm(plain) < 1e-3


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
    (found,) = run(model, {"x": x})
    assert found.shape == (tokens, 24)
    np.testing.assert_allclose(found, x @ weight, atol=2e-3)


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
    first, both, peaks = run(model, {"x": x})
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
    (a, b), (c, d) = two_planes(x), two_planes(weight)
    wanted = a @ c.T + b @ c.T + a @ d.T
    with_fourth = wanted + b @ d.T
    model = emulate(
        layer(torch.from_numpy(weight)),
        Precision("w16", "int8", 0, activations="two planes", quantized=("weight",)),
    )
    with torch.no_grad():
        found = model(torch.from_numpy(x)).numpy()
    assert np.median(np.abs(found - wanted)) < np.median(np.abs(with_fourth - wanted)) / 10
