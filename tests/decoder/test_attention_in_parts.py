"""Attention that takes its queries in parts, against NumPy."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from beamgen.decoder.shared_prompt_attention import SharedPromptAttention


def _attention(*inputs: np.ndarray, scale: float) -> np.ndarray:
    """What ONNX Runtime makes of the node."""
    proto = SharedPromptAttention.to_function_proto()
    names = list(proto.input)
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(proto.name, names, ["found"], domain=proto.domain, scale=scale)],
        "call",
        [helper.make_tensor_value_info(name, floats, [None] * 4) for name in names],
        [helper.make_tensor_value_info("found", floats, [None] * 4)],
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(proto.domain, 1)]
    model = helper.make_model(graph, functions=[proto], opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


def _by_hand(query, prompt_key, prompt_value, key, value, bias, scale):
    keys = np.concatenate([prompt_key, key], axis=2).astype(np.float64)
    values = np.concatenate([prompt_value, value], axis=2).astype(np.float64)
    groups = query.shape[1] // keys.shape[1]
    found = np.empty((*query.shape[:3], values.shape[3]))
    for row, head in np.ndindex(query.shape[:2]):
        scores = query[row, head] @ keys[row, head // groups].T * scale + bias[row, 0]
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        found[row, head] = (
            weights / weights.sum(axis=1, keepdims=True) @ values[row, head // groups]
        )
    return found


@pytest.mark.parametrize(
    ("heads", "kv_heads", "new", "stored", "recent"),
    [
        (4, 2, 5, 7, 3),  # few queries
        (4, 2, 70, 0, 0),  # many, whose scores are few
        (64, 8, 100, 2000, 60),  # up to 30 queries at a time
        (64, 64, 65, 4000, 0),  # 16 at a time, the fewest, and one alone
    ],
)
def test_it_is_attention(heads: int, kv_heads: int, new: int, stored: int, recent: int) -> None:
    batch, width, value_width = 2, 4, 3
    rng = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    prompt = [random(batch, kv_heads, stored, size) for size in (width, value_width)]
    own = [random(batch, kv_heads, recent + new, size) for size in (width, value_width)]
    query = random(batch, heads, new, width)
    attended = stored + recent + new
    hidden = rng.random((batch, 1, new, attended)) < 0.5
    hidden[..., 0] = False
    bias = np.where(hidden, np.finfo(np.float32).min, np.float32(0))
    given = [query, *prompt, *own, bias]
    found = _attention(*given, scale=0.5)
    assert np.abs(found - _by_hand(*given, 0.5)).max() < 1e-5
