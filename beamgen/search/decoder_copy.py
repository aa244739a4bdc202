"""A decoder's nodes, copied into a search graph over shared weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from beamgen.tape import Tape, shared_weight


class DecoderCopier:
    """Puts the decoder's nodes into a graph, over shared weights."""

    def __init__(self, graph: ir.Graph, slots: Mapping[str, ir.Value]) -> None:
        """Let the weights become initializers of the new main graph, see ``weights``.

        ``slots`` are inputs of the main graph, which every copy reads.
        """
        self._graph = graph
        self._slots = slots
        self._weights = {value: shared_weight(value) for value in graph.initializers.values()}

    @property
    def weights(self) -> list[ir.Value]:
        """The decoder's initializers for the new main graph."""
        return list(self._weights.values())

    def __call__(
        self, tape: Tape, feeds: Mapping[str, ir.Value]
    ) -> tuple[ir.Value, list[ir.Value]]:
        """Record one more copy, fed by input name; returns its logits and present tensors."""
        given = {**feeds, **self._slots}
        return copied_decoder(tape, self._graph, self._graph, self._weights, given)


def copied_decoder(
    tape: Tape,
    graph: ir.Graph,
    nodes: Iterable[ir.Node],
    constants: Mapping[ir.Value, ir.Value],
    feeds: Mapping[str, ir.Value],
) -> tuple[ir.Value, list[ir.Value]]:
    """Record a decoder's nodes; returns its logits and present tensors.

    Args:
        tape: of the graph that they go into.
        graph: the decoder's.
        nodes: those of its nodes that go there.
        constants: what stands for its weights, and for the nodes that do not go there.
        feeds: its inputs, by name.
    """
    values = {**constants, **{value: feeds[value.name or ""] for value in graph.inputs}}
    tape.copy(nodes, values)
    logits, *present = (values[value] for value in graph.outputs)
    return logits, present
