"""A GPT-2 decoder step written node by node from the tensors: no tracer, and none of our code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Tensors = Mapping[str, np.ndarray]
_MASKED = -1e9


class _Graph:
    """Nodes and weights, under running names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def split(self, value: str, parts: int) -> list[str]:
        outputs = [f"v{len(self.nodes)}.{part}" for part in range(parts)]
        node = helper.make_node("Split", [value], outputs, axis=-1, num_outputs=parts)
        self.nodes.append(node)
        return outputs

    def weight(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.weight(values, np.int64)


def gpt2(
    tensors: Tensors,
    config: Mapping[str, Any],
    face: str = "rows",
    opset: int = 21,
    *,
    last_only: bool = False,
) -> onnx.ModelProto:
    """A decoder step of a GPT-2 checkpoint.

    Args:
        tensors: as its file has them.
        config: its ``config.json``.
        face: ``rows``: a mask ``[B, P+N]`` of text; ``tree``: an additive one of four axes.
        opset: that it is written in, from 18 on.
        last_only: whether logits are given of the last token alone.
    """
    g, heads, hidden = _Graph(), config["n_head"], config["n_embd"]
    at = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    wte = g.weight(at["wte.weight"])
    words = g.op("Gather", wte, "input_ids")
    x = g.op("Add", words, g.op("Gather", g.weight(at["wpe.weight"]), "position_ids"))
    bias = _bias(g) if face == "rows" else "attention_bias"
    for layer in range(config["n_layer"]):
        name = f"h.{layer}."
        own = {k.removeprefix(name): v for k, v in at.items() if k.startswith(name)}
        normed = _norm(g, x, own, "ln_1", config)
        query, key, value = (
            _heads(g, part, heads) for part in g.split(_linear(g, normed, own, "attn.c_attn"), 3)
        )
        keys = _appended(g, layer, "key", key)
        values = _appended(g, layer, "value", value)
        scores = g.op("MatMul", query, g.op("Transpose", keys, perm=[0, 1, 3, 2]))
        scores = g.op("Div", scores, g.weight((hidden / heads) ** 0.5))
        shares = g.op("Softmax", g.op("Add", scores, bias), axis=-1)
        mixed = g.op("Transpose", g.op("MatMul", shares, values), perm=[0, 2, 1, 3])
        mixed = g.op("Reshape", mixed, g.ints(0, 0, hidden))
        x = g.op("Add", x, _linear(g, mixed, own, "attn.c_proj"))
        wide = _linear(g, _norm(g, x, own, "ln_2", config), own, "mlp.c_fc")
        x = g.op("Add", x, _linear(g, _gelu(g, wide), own, "mlp.c_proj"))
    x = _norm(g, x, at, "ln_f", config)
    if last_only:
        x = g.op("Slice", x, g.ints(-1), g.ints(2**62), g.ints(1))
    g.op("MatMul", x, g.op("Transpose", wte, perm=[1, 0]), name="logits")
    return _model(g, config, face, opset, last_only)


def _bias(g: _Graph) -> str:
    """What each new token sees: of the text, what stands before it and itself."""
    total = g.op("Shape", "attention_mask", start=1)
    new = g.op("Shape", "input_ids", start=1)
    zero, one = g.weight(0, np.int64), g.weight(1, np.int64)
    place = g.op("Range", zero, g.op("Squeeze", total), one)
    query = g.op("Slice", place, g.op("Sub", total, new), total, g.ints(0))
    causal = g.op("LessOrEqual", place, g.op("Unsqueeze", query, g.ints(1)))  # [N, T]
    text = g.op("Cast", "attention_mask", to=TensorProto.BOOL)
    seen = g.op("And", causal, g.op("Unsqueeze", text, g.ints(1, 2)))  # [B, 1, N, T]
    return g.op("Where", seen, g.weight(0.0), g.weight(_MASKED))


def _heads(g: _Graph, value: str, heads: int) -> str:
    apart = g.op("Reshape", value, g.ints(0, 0, heads, -1))
    return g.op("Transpose", apart, perm=[0, 2, 1, 3])


def _appended(g: _Graph, layer: int, part: str, value: str) -> str:
    past = f"past_key_values.{layer}.{part}"
    return g.op("Concat", past, value, name=f"present.{layer}.{part}", axis=2)


def _linear(g: _Graph, x: str, at: Tensors, name: str) -> str:
    product = g.op("MatMul", x, g.weight(at[f"{name}.weight"]))
    return g.op("Add", product, g.weight(at[f"{name}.bias"]))


def _norm(g: _Graph, x: str, at: Tensors, name: str, config: Mapping[str, Any]) -> str:
    scale, shift = g.weight(at[f"{name}.weight"]), g.weight(at[f"{name}.bias"])
    epsilon = config.get("layer_norm_epsilon", 1e-5)
    return g.op("LayerNormalization", x, scale, shift, epsilon=epsilon)


def _gelu(g: _Graph, x: str) -> str:
    cubed = g.op("Mul", g.weight(0.044715), g.op("Pow", x, g.weight(3.0)))
    inner = g.op("Mul", g.weight((2 / np.pi) ** 0.5), g.op("Add", x, cubed))
    share = g.op("Add", g.weight(1.0), g.op("Tanh", inner))
    return g.op("Mul", g.op("Mul", g.weight(0.5), x), share)


def _model(
    g: _Graph, config: Mapping[str, Any], face: str, opset: int, last_only: bool
) -> onnx.ModelProto:
    ids, floats = TensorProto.INT64, TensorProto.FLOAT
    heads, width = config["n_head"], config["n_embd"] // config["n_head"]
    mask = ("attention_mask", ids, ["batch", "total"])
    if face == "tree":
        mask = ("attention_bias", floats, ["batch", 1, "new", "total"])
    names = [f"{n}.{part}" for n in range(config["n_layer"]) for part in ("key", "value")]
    inputs = [("input_ids", ids, ["batch", "new"]), mask, ("position_ids", ids, ["batch", "new"])]
    inputs += [(f"past_key_values.{n}", floats, ["batch", heads, "past", width]) for n in names]
    new = 1 if last_only else "new"
    outputs = [("logits", floats, ["batch", new, config["vocab_size"]])]
    outputs += [(f"present.{n}", floats, ["batch", heads, "total", width]) for n in names]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        g.nodes, "step", [info(*i) for i in inputs], [info(*o) for o in outputs], g.weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def saved(model: onnx.ModelProto, path: Path, change: Callable[..., None] | None = None) -> Path:
    """Write a copy of a decoder, changed or not."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if change is not None:
        change(copy)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(copy, path)
    return path
