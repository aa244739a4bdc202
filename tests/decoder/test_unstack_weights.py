from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import numpy_helper, parser

from beamgen.decoder.passes.place_weights import place_weights
from beamgen.decoder.passes.quantize import quantize
from beamgen.decoder.passes.unstack_weights import unstack_weights
from beamgen.quantization.emulate import emulate
from beamgen.quantization.record import Precision

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(9, 32)).astype(np.float32)
ROWS = RNG.normal(size=(2, 24, 32)).astype(np.float32)  # as linear layers have them, [E, n, k]
COLUMNS = RNG.normal(size=(2, 24, 16)).astype(np.float32)  # [E, k, n]
IDS = np.array([[3, 1], [8, 0]])

_GRAPH = """<ir_version: 10, opset_import: ["": 23]>
g (int64[b, n] input_ids) => (float[b, n, 16] y)
<int64 one = {1}> {
    x = Gather(table, input_ids)
    row = Gather<axis=0>(rows, one)
    rowT = Transpose<perm=[1, 0]>(row)
    inner = MatMul(x, rowT)
    column = Gather<axis=0>(columns, one)
    y = MatMul(inner, column)
}"""


def _model(text: str = _GRAPH) -> ir.Model:
    proto = parser.parse_model(text)
    for name, array in (("table", TABLE), ("rows", ROWS), ("columns", COLUMNS)):
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    return ir.from_proto(proto)


def _run(model: ir.Model) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"input_ids": IDS})
    return found


class _Experts(torch.nn.Module):
    """What the graph was traced from."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(9, 32)
        self.table.weight = torch.nn.Parameter(torch.from_numpy(TABLE.copy()))
        self.rows = torch.nn.Parameter(torch.from_numpy(ROWS.copy()))
        self.columns = torch.nn.Parameter(torch.from_numpy(COLUMNS.copy()))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        inner = torch.nn.functional.linear(self.table(ids), self.rows[1])
        return inner @ self.columns[torch.tensor(1)]


def test_the_matrices_of_a_stack_are_read_by_themselves() -> None:
    model = place_weights(unstack_weights(_model()))
    assert {"rows[1].T", "columns[1]", "table"} <= model.graph.initializers.keys()
    assert not {"rows", "columns"} & model.graph.initializers.keys()
    read = [node.inputs[1].name for node in model.graph if node.op_type == "MatMul"]
    assert read == ["rows[1].T", "columns[1]"]
    np.testing.assert_allclose(_run(model), TABLE[IDS] @ ROWS[1].T @ COLUMNS[1], rtol=1e-4)


def test_a_stack_that_is_read_whole_stays() -> None:
    model = unstack_weights(_model(_GRAPH.replace("(inner, column)", "(inner, columns)")))
    assert "columns" in model.graph.initializers
    assert "rows" not in model.graph.initializers


@pytest.mark.parametrize("precision", ["w16", "int8", "int4"])
def test_rounded_experts_are_those_that_are_emulated(precision: str) -> None:
    """The one by NumPy's and the file's arithmetic, the other by functions of torch."""
    model = place_weights(unstack_weights(_model()))
    record = quantize(model, precision, "u8")
    assert set(record.quantized) == {"table", "rows", "columns.T"}
    names = tuple(name.replace("table", "table.weight") for name in record.quantized)
    in_bytes = tuple(name.replace("table", "table.weight") for name in record.in_bytes)
    values = {**record.to_json(), "quantized": names, "in_bytes": in_bytes}
    experts = _Experts()
    with torch.no_grad():
        plain = experts(torch.from_numpy(IDS)).numpy()
        emulated = emulate(experts, Precision.from_json(values))(torch.from_numpy(IDS)).numpy()
    found = _run(model)
    rounding = np.abs(found - plain).max()
    assert rounding > (1e-5 if precision == "w16" else 1e-2), "nothing was rounded"
    # a value at the border of two numbers may fall to either side, and moves its row
    fallen = 2e-4 if precision == "w16" else 0.02
    assert np.median(np.abs(found - emulated)) < fallen / 200 * np.abs(plain).max()
    assert np.abs(found - emulated).max() < fallen * np.abs(plain).max()
