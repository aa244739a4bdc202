"""GPT-2 in NumPy, straight from a checkpoint's tensors and its config.json.

Written from the papers and OpenAI's code, to be a yardstick that shares nothing with
transformers' loader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Tensors = Mapping[str, np.ndarray]


def logits(tensors: Tensors, config: Mapping[str, Any], ids: Sequence[int]) -> np.ndarray:
    """Logits ``[T, V]`` of one sequence, in float64."""
    prefix = "transformer." if "transformer.wte.weight" in tensors else ""
    weights = {name.removeprefix(prefix): value.astype(float) for name, value in tensors.items()}
    epsilon = config.get("layer_norm_epsilon", 1e-5)
    x = weights["wte.weight"][list(ids)] + weights["wpe.weight"][: len(ids)]
    for layer in range(config["n_layer"]):
        at = {
            name.removeprefix(f"h.{layer}."): value
            for name, value in weights.items()
            if name.startswith(f"h.{layer}.")
        }
        normed = layer_norm(x, at["ln_1.weight"], at["ln_1.bias"], epsilon)
        x = x + _attention(normed, at, config, layer)
        normed = layer_norm(x, at["ln_2.weight"], at["ln_2.bias"], epsilon)
        wide = _gelu_new(normed @ at["mlp.c_fc.weight"] + at["mlp.c_fc.bias"])
        x = x + wide @ at["mlp.c_proj.weight"] + at["mlp.c_proj.bias"]
    x = layer_norm(x, weights["ln_f.weight"], weights["ln_f.bias"], epsilon)
    tied = config.get("tie_word_embeddings", True)
    return x @ (weights["wte.weight"] if tied else tensors["lm_head.weight"].astype(float)).T


def _attention(x: np.ndarray, at: Tensors, config: Mapping[str, Any], layer: int) -> np.ndarray:
    length, heads = len(x), config["n_head"]
    fused = x @ at["attn.c_attn.weight"] + at["attn.c_attn.bias"]  # [T, 3 * hidden]
    query, key, value = (
        part.reshape(length, heads, -1).transpose(1, 0, 2) for part in np.split(fused, 3, axis=1)
    )
    scores = query @ key.transpose(0, 2, 1)  # [H, T, T]
    if config.get("scale_attn_weights", True):
        scores = scores / np.sqrt(query.shape[-1])
    if config.get("scale_attn_by_inverse_layer_idx", False):
        scores = scores / (layer + 1)
    mixed = (causal_softmax(scores) @ value).transpose(1, 0, 2).reshape(length, -1)
    return mixed @ at["attn.c_proj.weight"] + at["attn.c_proj.bias"]


def causal_softmax(scores: np.ndarray) -> np.ndarray:
    """What each position takes of those up to itself: ``[H, T, T]``."""
    seen = np.tril(np.ones(scores.shape[-2:], bool))
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def layer_norm(x: np.ndarray, scale: np.ndarray, shift: np.ndarray, epsilon: float) -> np.ndarray:
    """Each row of ``[T, hidden]`` with mean 0 and variance 1, scaled and shifted."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon) * scale + shift


def _gelu_new(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
