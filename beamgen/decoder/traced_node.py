"""A computation that stays one node when a model is traced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from onnxscript import OnnxFunction

from beamgen.onnx_domain import DOMAIN


@dataclass(frozen=True)
class Like:
    """A result that has the type of an input.

    Attributes:
        input: which one.
        unknown: its axes whose size only a run tells.
    """

    input: int
    unknown: tuple[int, ...] = ()

    def declare(self, result: Any, inputs: tuple[Any, ...]) -> None:
        """Give a result of a trace its type."""
        kind = inputs[self.input].type()
        if self.unknown:
            sizes = enumerate(kind.varyingSizes())
            kind = kind.with_sizes([None if axis in self.unknown else size for axis, size in sizes])
        result.setType(kind)


def traced_node(
    body: OnnxFunction[Any, Any], compute: Callable[..., Any], *results: Like
) -> Callable[..., Any]:
    """A function of torch tensors that leaves a call of ``body`` in a trace.

    Args:
        body: an onnxscript function: the node's name, and its attributes, all floats.
        compute: the same arithmetic in torch. Takes the tensors in the body's order, and
            then the attributes.
        results: the types of what both give.

    Source: ``torch.onnx``, "Static symbolic method" of autograd functions.
    """
    signature = body.function_ir
    count = len(signature.inputs)
    attributes = [f"{attribute.name}_f" for attribute in signature.attributes.values()]

    class Traced(torch.autograd.Function):
        @staticmethod
        def symbolic(g: Any, *given: Any) -> Any:
            tensors, values = given[:count], dict(zip(attributes, given[count:], strict=True))
            found = g.op(f"{DOMAIN}::{body.name}", *tensors, **values, outputs=len(results))
            for result, like in zip(found if len(results) > 1 else [found], results, strict=True):
                like.declare(result, tensors)
            return found

        @staticmethod
        def forward(ctx: Any, *given: Any) -> Any:
            return compute(*given)

    apply: Callable[..., Any] = Traced.apply
    return apply
