"""Layers in 4 bits, whose scales have 16; token tables and what gives the logits in 8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import parser
from support.rounded_by_hand import HEAD, TABLE, WIDTH, round_blocks, round_rows, small_decoder

from beamgen.decoder.passes.quantize import quantize
from beamgen.quantization.emulate import emulate
from beamgen.quantization.record import Precision
from beamgen.quantization.rounding import from_int4_blocks, int4_blocks

_LOGITS = """<ir_version: 10, opset_import: ["": 23]>
g (int64[b, n] input_ids) => (float[b, n, 2] logits, float[b, n, 2] present)
<float[4, 2] table = {1,2,3,4,5,6,7,8}, float[2, 2] key = {1,0,0,1}, float[2, 2] up = {1,0,0,1},
 float[2, 2] down = {1,0,0,1}, float[2] norm = {1,2}, float[2, 2] head = {2,0,0,2},
 float cap = {30}> {
    x = Gather(table, input_ids)
    present = MatMul(x, key)
    h = MatMul(x, up)
    a = Gelu(h)
    d = MatMul(a, down)
    r = Add(d, x)
    y = Mul(r, norm)
    z = MatMul(y, head)
    t = Tanh(z)
    logits = Mul(t, cap)
}"""


def test_what_ids_choose_from_and_what_gives_the_logits_is_in_8_bits() -> None:
    """Capped logits are still the head's; what the cache holds and what the head reads is not."""
    model = ir.from_proto(parser.parse_model(_LOGITS))
    for number, node in enumerate(model.graph):
        node.name = f"node_{number}"
    record = quantize(model, "int4", "u8")
    assert set(record.quantized) == {"table", "key", "up", "down", "head"}
    assert set(record.in_bytes) == {"table", "head"}
    assert (record.weights, record.bytes_weights) == ("uint4", "uint8")
    kinds = {v.name: v.dtype for v in model.graph.initializers.values()}
    assert kinds["down.uint4"] == kinds["head.uint8"] == kinds["table.uint8"] == ir.DataType.UINT8
    assert kinds["down.scales"] == ir.DataType.FLOAT16
    assert kinds["head.scales"] == kinds["table.scales"] == ir.DataType.FLOAT


def test_onnx_runtime_widens_scales_as_it_loads(tmp_path: Path) -> None:
    model = small_decoder(tied=True)
    quantize(model, "int4", "u8")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    loaded = onnx.load(tmp_path / "loaded.onnx")
    stored = {tensor.name: tensor.data_type for tensor in loaded.graph.initializer}
    products = [node for node in loaded.graph.node if node.op_type == "MatMulNBits"]
    assert [stored[node.input[2]] for node in products] == [onnx.TensorProto.FLOAT] * 2


@pytest.mark.parametrize(("size", "dtype"), [(1, "f2"), (1e6, "f4"), (1e-6, "f4"), (0, "f2")])
def test_scales_have_16_bits_where_those_hold_them(size: float, dtype: str) -> None:
    weight = (TABLE * size).astype(np.float32)
    _, scales = int4_blocks(weight)
    assert scales.dtype == np.dtype(dtype)
    expected = (round_blocks(TABLE) * size).astype(np.float32)
    np.testing.assert_allclose(from_int4_blocks(weight), expected, rtol=1e-3)


class _Tied(torch.nn.Module):
    """A table, a layer and a head: what an older file keeps in 4 bits throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(torch.from_numpy(TABLE.copy()), False)
        self.layer = torch.nn.Linear(WIDTH, len(HEAD), bias=False)
        self.layer.weight.data = torch.from_numpy(HEAD.copy())


@pytest.mark.parametrize("in_bytes", [(), ("table.weight",)])
def test_hfs_parameters_are_rounded_as_the_record_says(in_bytes: tuple[str, ...]) -> None:
    record = Precision(
        "int4",
        "uint4",
        activations="int8",
        quantized=("table.weight", "layer.weight"),
        in_bytes=in_bytes,
    )
    model = emulate(_Tied(), record)
    table, layer = model.table.weight.detach().numpy(), model.layer.weight.detach().numpy()
    by_hand = round_rows if in_bytes else round_blocks
    np.testing.assert_allclose(table, by_hand(TABLE), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer, round_blocks(HEAD), rtol=1e-5, atol=1e-6)
