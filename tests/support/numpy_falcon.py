"""Falcon with ALiBi in NumPy, straight from a checkpoint's tensors and its config.json.

Written from TII's own ``modeling_RW.py``, which the RW models were published with: scores and ALiBi
are added, once, and then scaled together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from support.numpy_gpt2 import Tensors, causal_softmax, layer_norm


def logits(tensors: Tensors, config: Mapping[str, Any], ids: Sequence[int]) -> np.ndarray:
    """Logits ``[T, V]`` of one sequence, in float64."""
    weights = {
        name.removeprefix("transformer."): value.astype(float) for name, value in tensors.items()
    }
    x = weights["word_embeddings.weight"][list(ids)]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"h.{layer}."
        at = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
        x = x + _attention(_normed(x, at, "input_layernorm"), at, config["num_attention_heads"])
        wide = _normed(x, at, "post_attention_layernorm") @ at["mlp.dense_h_to_4h.weight"].T
        wide = _gelu(wide + at["mlp.dense_h_to_4h.bias"])
        x = x + wide @ at["mlp.dense_4h_to_h.weight"].T + at["mlp.dense_4h_to_h.bias"]
    return _normed(x, weights, "ln_f") @ weights["word_embeddings.weight"].T


def _attention(x: np.ndarray, at: Tensors, heads: int) -> np.ndarray:
    length, size = len(x), x.shape[1] // heads
    fused = x @ at["self_attention.query_key_value.weight"].T
    fused = fused + at["self_attention.query_key_value.bias"]
    query, key, value = fused.reshape(length, heads, 3, size).transpose(2, 1, 0, 3)  # [H, T, D]
    slopes = 2.0 ** (-8 * np.arange(1, heads + 1) / heads)  # of a power of two heads
    alibi = slopes[:, None, None] * np.arange(length)
    scores = (query @ key.transpose(0, 2, 1) + alibi) / math.sqrt(size)
    mixed = (causal_softmax(scores) @ value).transpose(1, 0, 2).reshape(length, -1)
    return mixed @ at["self_attention.dense.weight"].T + at["self_attention.dense.bias"]


def _normed(x: np.ndarray, at: Tensors, name: str) -> np.ndarray:
    return layer_norm(x, at[f"{name}.weight"], at[f"{name}.bias"], 1e-5)


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
