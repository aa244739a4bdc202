"""A mixture of experts in one loop, against NumPy straight from the tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch.nn.functional import gelu, silu

from beamgen import find_adapter
from beamgen.decoder.expert_loops import EXPERT_BODIES, has_loops, loop_over_experts
from beamgen.decoder.export import export_decoder
from beamgen.decoder.routed_experts import RoutedExperts
from beamgen.onnx_domain import DOMAIN
from beamgen.tape import Tape, body, define
from beamgen.testing.models import tiny_model
from model_adapters._experts import stacked_experts

EXPERTS, HIDDEN, INNER, CHOSEN = 6, 16, 12, 2


def _expected(hidden, index, weights, gate_up, down) -> np.ndarray:
    found = np.zeros(hidden.shape)
    for token, numbers in enumerate(index):
        for number, weight in zip(numbers, weights[token], strict=True):
            gate, up = np.split(gate_up[number].astype(float) @ hidden[token], 2)
            found[token] += weight * (down[number] @ (gate / (1 + np.exp(-gate)) * up))
    return found


def _session() -> onnxruntime.InferenceSession:
    floats, tape = ir.TensorType(ir.DataType.FLOAT), Tape("experts")
    shapes = {
        "hidden": ["tokens", HIDDEN],
        "index": ["tokens", CHOSEN],
        "weights": ["tokens", CHOSEN],
        "gate_up": [EXPERTS, 2 * INNER, HIDDEN],
        "down": [EXPERTS, HIDDEN, INNER],
    }
    inputs = [
        ir.Value(name=name, type=floats, shape=ir.Shape(shape)) for name, shape in shapes.items()
    ]
    inputs[1].type = ir.TensorType(ir.DataType.INT64)
    (found,) = tape.call(RoutedExperts, *inputs)
    found.type, found.shape = floats, inputs[0].shape
    graph = ir.Graph(inputs, [found], nodes=tape.nodes, opset_imports={"": 23, DOMAIN: 1})
    model = ir.Model(graph, ir_version=10)
    define(model, map(body, EXPERT_BODIES))
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())


@pytest.mark.parametrize("tokens", [0, 1, 5, 40])
def test_the_loop_gives_what_the_experts_give(tokens: int) -> None:
    dice = np.random.default_rng(tokens)
    inputs = {
        "hidden": dice.normal(size=(tokens, HIDDEN)),
        # the last expert gets no token
        "index": np.array([dice.permutation(EXPERTS - 1)[:CHOSEN] for _ in range(tokens)], int),
        "weights": dice.random((tokens, CHOSEN)),
        "gate_up": dice.normal(size=(EXPERTS, 2 * INNER, HIDDEN)),
        "down": dice.normal(size=(EXPERTS, HIDDEN, INNER)),
    }
    inputs["index"] = inputs["index"].reshape(tokens, CHOSEN)
    feeds = {
        name: value if name == "index" else value.astype(np.float32)
        for name, value in inputs.items()
    }
    (found,) = _session().run(None, feeds)
    np.testing.assert_allclose(found, _expected(**feeds), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.005])
@pytest.mark.parametrize(("activation", "looped"), [(silu, True), (gelu, False)])
def test_only_what_the_loop_computes_becomes_one(activation, looped: bool, scale: float) -> None:
    """Small weights, too, of which all activations give nearly nothing for small tokens."""
    dice = torch.Generator().manual_seed(1)
    gate_up = torch.nn.Parameter(scale * torch.randn(EXPERTS, 2 * INNER, HIDDEN, generator=dice))
    down = torch.nn.Parameter(scale * torch.randn(EXPERTS, HIDDEN, INNER, generator=dice))
    model = torch.nn.ModuleDict({"experts": stacked_experts(gate_up, down, activation)})
    loop_over_experts(model, kept=["experts.0.down_proj"])
    assert not has_loops(model)
    loop_over_experts(model)
    assert has_loops(model) == looped


def test_a_graph_does_not_grow_with_its_experts(tmp_path: Path) -> None:
    """One node for each layer, unless the products are to be rounded."""
    adapter, nodes = find_adapter("qwen3_moe"), []
    config = adapter.tiny_config()
    config.num_hidden_layers = 1
    for experts, every_expert in ((4, False), (12, False), (4, True)):
        config.num_experts = experts
        folder = tmp_path / f"{experts}-{every_expert}"
        folder.mkdir()
        decoder = export_decoder(
            adapter, tiny_model(config), folder, every_expert=every_expert
        ).model
        nodes.append([node.op_type for node in decoder.graph])
    assert [each.count("RoutedExperts") for each in nodes] == [1, 1, 0]
    assert nodes[0] == nodes[1]
