"""A decoder in the inner of two loops, with its weights where ONNX Runtime packs them.

Weights in the layout that a product reads ("prepacked") make a step two to three times as
fast. ONNX Runtime packs a weight that is an initializer of the product's own graph or of its
parent, not of a graph further out; and weights inside a body of one file are held in memory
several times while it is loaded. So a weight is an initializer of the main graph and passes
through a node of the outer body, which the runtime folds into an initializer of that body.
Weights in external data are not held at all: the runtime maps the file. They are initializers
of the outer body from the start.

Where an encoder was traced with the decoder, its nodes go into the main graph, which cannot see
what lies in the bodies: a small weight that both read stands there a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from beamgen.search.decoder_copy import copied_decoder
from beamgen.search.lift import placed
from beamgen.tape import Tape, shared_weight

#: Operators whose kernels pack their weights.
_PACKING = {"MatMul", "Gemm", "MatMulInteger", "MatMulNBits"}
#: Initializers up to this size stand in the inner body itself.
_SMALL_BYTES = 65536


class NestedDecoder:
    """Puts a decoder's nodes into the inner body, once, over weights of graphs around it."""

    def __init__(
        self,
        graph: ir.Graph,
        slots: Mapping[str, ir.Value],
        sources: Mapping[str, ir.Value],
        *,
        external: bool = False,
    ) -> None:
        """Find out which weights and nodes of a decoder go where.

        ``slots`` and ``sources`` are inputs of the main graph, which the decoder reads;
        ``external`` says that the weights will stand in external data.
        """
        self._graph = graph
        self._given = {**slots, **sources}
        self._external = external
        self._weights = {value: shared_weight(value) for value in graph.initializers.values()}
        self._values = dict(self._weights)
        self._placed = placed(graph, sources, slots)
        self._in_loops = {*self._placed.folded, *self._placed.inside}
        self._copies: dict[ir.Value, ir.Value] = {}

    @property
    def main_weights(self) -> list[ir.Value]:
        """The weights that are initializers of the main graph."""
        elsewhere = self._in_bodies()
        own = self._shared(value for value in self._initializers() if value not in elsewhere)
        return [*own, *self._copies.values()]

    @property
    def outer_weights(self) -> list[ir.Value]:
        """The weights that are initializers of the outer body."""
        return self._shared(self._for_outer_body())

    @property
    def inner_weights(self) -> list[ir.Value]:
        """The weights that are initializers of the inner body."""
        return self._shared(self._small())

    def _in_bodies(self) -> set[ir.Value]:
        return {*self._small(), *self._for_outer_body()}

    def _shared(self, values: Iterable[ir.Value]) -> list[ir.Value]:
        return [self._weights[value] for value in values]

    def _initializers(self) -> list[ir.Value]:
        return list(self._graph.initializers.values())

    def _small(self) -> list[ir.Value]:
        return [
            value
            for value in self._initializers()
            if _bytes(value) <= _SMALL_BYTES
            and self._readers(value)
            and not self._readers(value) & set(self._placed.folded)
        ]

    def _packed(self) -> list[ir.Value]:
        """Large initializers that a product reads."""
        small, folded = set(self._small()), set(self._placed.folded)
        return [
            value
            for value in self._initializers()
            if value not in small
            and any(node.op_type in _PACKING for node in self._readers(value) - folded)
        ]

    def _for_outer_body(self) -> list[ir.Value]:
        """Weights of products, where the file is mapped and the loops alone read them."""
        return [
            value
            for value in self._packed()
            if self._external
            and len(self._readers(value)) == len({use.node for use in value.uses()})
        ]

    def _readers(self, value: ir.Value) -> set[ir.Node]:
        """The nodes within the loops that read a weight."""
        return {use.node for use in value.uses()} & self._in_loops

    def lift(self, tape: Tape) -> None:
        """Record in the main graph what depends on the sources alone."""
        elsewhere = self._in_bodies()
        values = dict(self._weights)
        read = dict.fromkeys(value for node in self._placed.lifted for value in node.inputs)
        for value in [value for value in read if value is not None and value in elsewhere]:
            copy = shared_weight(value)
            copy.name = f"lifted/{value.name}"
            self._copies[value] = values[value] = copy
        values |= {
            value: self._given[value.name or ""]
            for value in self._graph.inputs
            if value.name in self._given
        }
        tape.copy(self._placed.lifted, values)
        folded = {out for node in self._placed.folded for out in node.outputs}
        self._values |= {
            out: values[out]
            for node in self._placed.lifted
            for out in node.outputs
            if out not in folded
        }

    def fold(self, tape: Tape) -> None:
        """Record in the outer body what ONNX Runtime makes initializers of."""
        tape.copy(self._placed.folded, self._values)
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
        given = {**feeds, **self._given}
        return copied_decoder(tape, self._graph, self._placed.inside, self._values, given)


def _bytes(value: ir.Value) -> int:
    assert value.const_value is not None, "an initializer holds a tensor"
    return value.const_value.nbytes
