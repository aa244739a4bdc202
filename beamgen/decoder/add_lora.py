"""The node that a slot leaves in a trace: a linear layer's output with a LoRA's added."""

# onnxscript functions are read from source by its compiler: no annotations of
# their tensors, and every operator by name.
# mypy: disable-error-code="arg-type, no-untyped-def, misc, no-untyped-call"

from __future__ import annotations

from onnxscript import opset23 as op
from onnxscript import script

from beamgen.decoder.traced_node import Like, traced_node
from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def AddLora(output, x, a, b):  # noqa: N802 - an ONNX operator's name
    """A linear layer's output with a LoRA's added: ``output + (x A) B``.

    output ``[B, N, out]``, x ``[B, N, in]``, a ``[rows, in, r]``, b ``[rows, r, out]``,
    rows 1 or B, r 0 or more -> ``[B, N, out]``.

    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models",
    equation 3.
    """
    return op.Add(output, op.MatMul(op.MatMul(x, a), b))


@script(beamgen_ops, default_opset=op)
def AddLoraToTokens(output, x, a, b):  # noqa: N802 - an ONNX operator's name
    """A LoRA's output added to that of a layer which is fed tokens of any rows, or none.

    output ``[T, out]``, x ``[T, in]``, a ``[1, in, r]``, b ``[1, r, out]`` -> ``[T, out]``.
    """
    first = op.Constant(value_ints=[0])
    return op.Add(output, op.MatMul(op.MatMul(x, op.Squeeze(a, first)), op.Squeeze(b, first)))


#: See ``AddLora``.
add_lora = traced_node(AddLora, lambda output, x, a, b: output + x @ a @ b, Like(0))
#: See ``AddLoraToTokens``.
add_lora_to_tokens = traced_node(
    AddLoraToTokens, lambda output, x, a, b: output + x @ a[0] @ b[0], Like(0)
)
