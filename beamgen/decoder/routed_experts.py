"""The node that a mixture of experts leaves in a trace: all experts of a layer, in one loop."""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="arg-type, misc, no-untyped-call, no-untyped-def, type-var"

from __future__ import annotations

import torch
from onnxscript import graph, script
from onnxscript import opset23 as op

from beamgen.decoder.traced_node import Like, traced_node
from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def AddExpert(  # noqa: N802 - an ONNX operator's name
    before, chosen, hidden, weights, gate_up, down
):
    """Add to a sum what one expert makes of those tokens that chose it, by SwiGLU.

    before and hidden ``[T, hidden]``, chosen bool ``[T, k]``, weights ``[T, k]``, gate_up
    ``[2 * I, hidden]`` (the gate's rows first), down ``[hidden, I]`` -> ``[T, hidden]``.

    The weights stand on the left of their products: ONNX Runtime packs what stands on the
    right, which takes longer than the product of a few tokens.
    """
    width = op.Shape(down, start=1)  # I
    zero = op.Constant(value_ints=[0])
    places = op.NonZero(chosen)  # [2, m]
    token = op.Gather(places, op.Constant(value_int=0))  # [m]
    share = op.GatherND(weights, op.Transpose(places, perm=[1, 0]))  # [m]
    tokens = op.Transpose(op.Gather(hidden, token), perm=[1, 0])  # [hidden, m]
    both = op.MatMul(gate_up, tokens)  # [2 * I, m]
    gate = op.Slice(both, zero, width, zero)
    up = op.Slice(both, width, op.Add(width, width), zero)
    found = op.MatMul(down, op.Mul(op.Mul(gate, op.Sigmoid(gate)), up))  # [hidden, m]
    rows = op.Transpose(op.Mul(found, share), perm=[1, 0])  # [m, hidden]
    where = op.Unsqueeze(token, op.Constant(value_ints=[1]))
    return op.ScatterND(before, where, rows, reduction="add")


@script(beamgen_ops, default_opset=op)
def RoutedExperts(hidden, index, weights, gate_up, down):  # noqa: N802 - an ONNX operator's name
    """What the experts that a router chose make of T tokens.

    hidden ``[T, hidden]``, index int64 ``[T, k]``, weights ``[T, k]``, gate_up
    ``[E, 2 * I, hidden]``, down ``[E, hidden, I]`` -> ``[T, hidden]``.

    ``Scan`` hands each expert's weights to its body without copying them. An expert without
    a token costs its condition.

    Source: ``Qwen3MoeExperts.forward`` of transformers 5.
    """
    experts = op.Squeeze(op.Shape(gate_up, end=1))
    numbers = op.Range(op.Constant(value_int=0), experts, op.Constant(value_int=1))
    nothing = op.Mul(hidden, op.Constant(value_float=0.0))

    @graph()
    def expert(before, number, gate_up_of_it, down_of_it):
        chosen = op.Equal(index, number)  # [T, k]
        if op.Cast(op.ReduceMax(op.Cast(chosen, to=6), keepdims=0), to=9):
            after = AddExpert(before, chosen, hidden, weights, gate_up_of_it, down_of_it)
        else:
            after = op.Identity(before)
        return after

    return op.Scan(nothing, numbers, gate_up, down, body=expert, num_scan_inputs=3)


def compute(
    hidden: torch.Tensor,
    index: torch.Tensor,
    weights: torch.Tensor,
    gate_up: torch.Tensor,
    down: torch.Tensor,
) -> torch.Tensor:
    """The arithmetic of ``RoutedExperts`` in torch."""
    found = torch.zeros_like(hidden)
    for number in index.unique().tolist():
        token, choice = torch.where(index == number)
        gate, up = (hidden[token] @ gate_up[number].T).chunk(2, dim=-1)
        given = (torch.nn.functional.silu(gate) * up) @ down[number].T
        found.index_add_(0, token, given * weights[token, choice, None])
    return found


#: See ``RoutedExperts``.
routed_experts = traced_node(RoutedExperts, compute, Like(0))
