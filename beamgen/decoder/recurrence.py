"""The node of a layer that carries a state from token to token, as an ONNX function."""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call, arg-type"

from __future__ import annotations

import torch
from onnxscript import graph, script
from onnxscript import opset23 as op

from beamgen.decoder.traced_node import Like, traced_node
from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def Recurrence(decay, added, state):  # noqa: N802 - an ONNX operator's name
    """What a state is after each token: ``h[t] = decay[t] * h[t - 1] + added[t]``.

    decay and added ``[R, T, ...]``, state ``[R, ...]``, h before the first token ->
    ``[R, T, ...]``.

    Source: Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State
    Spaces", equation 2a.
    """

    @graph()
    def step(held, factor, term):
        following = op.Add(op.Mul(factor, held), term)
        told = op.Identity(following)
        return following, told

    _last, states = op.Scan(
        state,
        decay,
        added,
        body=step,
        num_scan_inputs=2,
        scan_input_axes=[1, 1],
        scan_output_axes=[1],
    )
    return states


def _compute(decay: torch.Tensor, added: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """The arithmetic of ``Recurrence`` in torch."""
    states = []
    for factor, term in zip(decay.unbind(1), added.unbind(1), strict=True):
        state = factor * state + term
        states.append(state)
    return torch.stack(states, dim=1)


#: See ``Recurrence``.
recurrence = traced_node(Recurrence, _compute, Like(1))
