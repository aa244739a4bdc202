"""The node that a slot leaves in a trace: a linear layer's output with a LoRA's added."""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="no-untyped-def, misc, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from onnxscript import opset23 as op
from onnxscript import script

from beamgen.onnx_domain import DOMAIN, beamgen_ops


@script(beamgen_ops, default_opset=op)
def AddLora(output, x, a, b):  # noqa: N802 - an ONNX operator's name
    """``output + (x A) B``.

    output ``[B, N, out]``, x ``[B, N, in]``, a ``[rows, in, r]``, b ``[rows, r, out]``,
    rows 1 or B, r 0 or more -> ``[B, N, out]``.

    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models",
    equation 3.
    """
    return op.Add(output, op.MatMul(op.MatMul(x, a), b))


class _AddLora(torch.autograd.Function):
    """The same arithmetic in torch, and the node it leaves in a trace."""

    @staticmethod
    def symbolic(g: Any, output: Any, *rest: Any) -> Any:
        node = g.op(f"{DOMAIN}::AddLora", output, *rest)
        node.setType(output.type())
        return node

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor
    ) -> torch.Tensor:
        return output + x @ a @ b


def add_lora(
    output: torch.Tensor, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor
) -> torch.Tensor:
    """See ``AddLora``."""
    added: torch.Tensor = _AddLora.apply(output, x, a, b)
    return added
