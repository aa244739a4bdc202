"""Attention of a decoder to what an encoder gave, a node of ours in each layer.

Its result has the query's shape, which the tracer would lose with that of the source.
"""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call"

from __future__ import annotations

import torch
from onnxscript import opset23 as op
from onnxscript import script

from beamgen.decoder.traced_node import Like, traced_node
from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def CrossAttention(query, keys, values, bias):  # noqa: N802 - an ONNX operator's name
    """Attend to a padded source, each beam's new token to that of its row.

    query ``[B, H, N, D]``, keys ``[B, H, D, source]``, scaled, values ``[B, H, source, D]``, bias
    ``[B, 1, 1, source]`` -> ``[B, H, N, D]``.
    """
    return op.MatMul(op.Softmax(op.Add(op.MatMul(query, keys), bias), axis=-1), values)


@script(beamgen_ops, default_opset=op)
def CrossAttentionToAll(query, keys, values):  # noqa: N802 - an ONNX operator's name
    """``CrossAttention`` to a source that has no padding."""
    return op.MatMul(op.Softmax(op.MatMul(query, keys), axis=-1), values)


def _to_all(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.softmax(query @ keys, dim=-1) @ values


def _masked(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    return torch.softmax(query @ keys + bias, dim=-1) @ values


#: See ``CrossAttention``.
cross_attention = traced_node(CrossAttention, _masked, Like(0))
#: See ``CrossAttentionToAll``.
cross_attention_to_all = traced_node(CrossAttentionToAll, _to_all, Like(0))
