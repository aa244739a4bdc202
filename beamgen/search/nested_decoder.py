"""A decoder in the inner of two loops, with its weights where ONNX Runtime packs them.

Weights in the layout that a product reads ("prepacked") make a step two to three times as
fast. ONNX Runtime packs a weight that is an initializer of the product's own graph or of its
parent, not of a graph further out; and weights inside a body of one file are held in memory
several times while it is loaded. So a weight is an initializer of the main graph and passes
through a node of the outer body, which the runtime folds into an initializer of that body.
Weights in external data are not held at all: the runtime maps the file. They are initializers
of the outer body from the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from beamgen.search.decoder_copy import copied_decoder
from beamgen.tape import Tape, shared_weight

#: Operators whose kernels pack their weights.
_PACKING = {"MatMul", "Gemm", "MatMulInteger", "MatMulNBits"}
#: Initializers up to this size stand in the inner body itself.
_SMALL_BYTES = 65536


class NestedDecoder:
    """Puts a decoder's nodes into the inner body, once, over weights of graphs around it."""

    def __init__(
        self, graph: ir.Graph, slots: Mapping[str, ir.Value], *, external: bool = False
    ) -> None:
        """Find out which weights and nodes of a decoder go where.

        ``slots`` are inputs of the main graph, which the decoder reads; ``external`` says
        that the weights will stand in external data.
        """
        self._graph = graph
        self._slots = slots
        self._external = external
        self._weights = {value: shared_weight(value) for value in graph.initializers.values()}
        self._values = dict(self._weights)
        self._folded: list[ir.Node] = []
        constants = set(graph.initializers.values())
        for node in graph:
            if node.inputs and all(value in constants for value in node.inputs):
                self._folded.append(node)
                constants.update(node.outputs)

    @property
    def main_weights(self) -> list[ir.Value]:
        """The weights that are initializers of the main graph."""
        elsewhere = {*self._small(), *self._for_outer_body()}
        return self._shared(value for value in self._initializers() if value not in elsewhere)

    @property
    def outer_weights(self) -> list[ir.Value]:
        """The weights that are initializers of the outer body."""
        return self._shared(self._for_outer_body())

    @property
    def inner_weights(self) -> list[ir.Value]:
        """The weights that are initializers of the inner body."""
        return self._shared(self._small())

    def _shared(self, values: Iterable[ir.Value]) -> list[ir.Value]:
        return [self._weights[value] for value in values]

    def _initializers(self) -> list[ir.Value]:
        return list(self._graph.initializers.values())

    def _small(self) -> list[ir.Value]:
        return [
            value
            for value in self._initializers()
            if _bytes(value) <= _SMALL_BYTES and not self._readers(value) & set(self._folded)
        ]

    def _packed(self) -> list[ir.Value]:
        """Large initializers that a product reads."""
        small, folded = set(self._small()), set(self._folded)
        return [
            value
            for value in self._initializers()
            if value not in small
            and any(node.op_type in _PACKING for node in self._readers(value) - folded)
        ]

    def _for_outer_body(self) -> list[ir.Value]:
        """Weights of products that nothing else reads, where the file is mapped."""
        return [
            value
            for value in self._packed()
            if self._external and all(node.op_type in _PACKING for node in self._readers(value))
        ]

    @staticmethod
    def _readers(value: ir.Value) -> set[ir.Node]:
        return {use.node for use in value.uses()}

    def fold(self, tape: Tape) -> None:
        """Record in the outer body what ONNX Runtime makes initializers of."""
        tape.copy(self._folded, self._values)
        there_already = set(self._for_outer_body())
        for value in self._packed():
            if value in there_already:
                continue
            assert value.shape is not None, "an initializer has a shape"
            shape = tape.constant(f"{value.name}.shape", value.shape.numpy())
            self._values[value] = tape.standard(
                "Reshape", self._values[value], shape, output=f"packed/{value.name}"
            )

    def __call__(
        self, tape: Tape, feeds: Mapping[str, ir.Value]
    ) -> tuple[ir.Value, list[ir.Value]]:
        """Record the nodes in the inner body, fed by name; returns logits and present tensors."""
        folded = set(self._folded)
        inside = [node for node in self._graph if node not in folded]
        given = {**feeds, **self._slots}
        return copied_decoder(tape, self._graph, inside, self._values, given)


def _bytes(value: ir.Value) -> int:
    assert value.const_value is not None, "an initializer holds a tensor"
    return value.const_value.nbytes
