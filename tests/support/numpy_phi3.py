"""Phi-3 in NumPy, straight from a checkpoint's tensors and its config.json, old or new.

Its rotary positions are written from the papers (RoPE, LongRoPE).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from support.numpy_gpt2 import Tensors, causal_softmax


def logits(tensors: Tensors, config: Mapping[str, Any], ids: Sequence[int]) -> np.ndarray:
    """Logits ``[T, V]`` of one sequence, in float64."""
    weights = {name: value.astype(float) for name, value in tensors.items()}
    epsilon = config.get("rms_norm_eps", 1e-5)
    cos, sin = _rotary(config, len(ids))
    x = weights["model.embed_tokens.weight"][list(ids)]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        at = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
        normed = _rms_norm(x, at["input_layernorm.weight"], epsilon)
        x = x + _attention(normed, at, config, cos, sin)
        normed = _rms_norm(x, at["post_attention_layernorm.weight"], epsilon)
        gate, up = np.split(normed @ at["mlp.gate_up_proj.weight"].T, 2, axis=1)
        x = x + (up * gate / (1 + np.exp(-gate))) @ at["mlp.down_proj.weight"].T
    x = _rms_norm(x, weights["model.norm.weight"], epsilon)
    tied = config.get("tie_word_embeddings", False)
    return x @ weights["model.embed_tokens.weight" if tied else "lm_head.weight"].T


def _rotary(config: Mapping[str, Any], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine ``[T, rotated]``, multiplied by LongRoPE's factor."""
    rope = config.get("rope_parameters") or {
        "rope_theta": config.get("rope_theta", 10000.0),
        "partial_rotary_factor": config.get("partial_rotary_factor", 1.0),
        **(config.get("rope_scaling") or {}),
    }
    head = config["hidden_size"] // config["num_attention_heads"]
    rotated = int(head * rope.get("partial_rotary_factor", 1.0))
    wavelengths = rope["rope_theta"] ** (np.arange(0, rotated, 2) / rotated)
    factor = 1.0
    if "long_factor" in rope:
        trained, longest = (config[f"{name}max_position_embeddings"] for name in ("original_", ""))
        wavelengths = wavelengths * rope["long_factor" if length > trained else "short_factor"]
        if longest > trained:
            factor = np.sqrt(1 + np.log(longest / trained) / np.log(trained))
    angles = np.arange(length)[:, None] / wavelengths  # [T, rotated / 2]
    angles = np.concatenate([angles, angles], axis=1)
    return np.cos(angles) * factor, np.sin(angles) * factor


def _attention(
    x: np.ndarray, at: Tensors, config: Mapping[str, Any], cos: np.ndarray, sin: np.ndarray
) -> np.ndarray:
    heads = config["num_attention_heads"]
    groups = config.get("num_key_value_heads") or heads
    size = config["hidden_size"] // heads
    fused = x @ at["self_attn.qkv_proj.weight"].T
    split = np.split(fused, [heads * size, (heads + groups) * size], axis=1)
    query, key, value = (
        part.reshape(len(x), -1, size).transpose(1, 0, 2) for part in split
    )  # [H, T, D], [Hkv, T, D]
    query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
    key, value = (part.repeat(heads // groups, axis=0) for part in (key, value))
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(size)
    mixed = (causal_softmax(scores) @ value).transpose(1, 0, 2).reshape(len(x), -1)
    return mixed @ at["self_attn.o_proj.weight"].T


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    rotated = cos.shape[-1]
    turned, rest = x[..., :rotated], x[..., rotated:]
    first, second = np.split(turned, 2, axis=-1)
    return np.concatenate(
        [turned * cos + np.concatenate([-second, first], axis=-1) * sin, rest], axis=-1
    )


def _rms_norm(x: np.ndarray, scale: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * scale
