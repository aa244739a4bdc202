"""What of a decoder need not be computed in every step: an encoder, and what depends on it alone.

A decoder that was traced with an encoder is one graph. Its nodes that read sources, weights and
LoRA slots, and nothing that changes from step to step, belong before the loops.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class Placement:
    """Where each node of a decoder goes, in the graph's order.

    Attributes:
        lifted: before the loops, with what they need of ``constant``.
        folded: into the outer body, where ONNX Runtime makes initializers of them: those of
            ``constant`` that a step needs.
        inside: into the inner body: a step.
    """

    lifted: list[ir.Node]
    folded: list[ir.Node]
    inside: list[ir.Node]


def placed(graph: ir.Graph, sources: Collection[str], slots: Collection[str]) -> Placement:
    """Tell apart the nodes of a decoder by what they depend on.

    Args:
        graph: the decoder's.
        sources: names of its inputs that an encoder reads.
        slots: names of its inputs that hold LoRAs.
    """
    constants = set(graph.initializers.values())
    constant = []
    for node in graph:
        if node.inputs and all(value in constants for value in node.inputs):
            constant.append(node)
            constants.update(node.outputs)
    once = {value for value in graph.inputs if value.name in sources}
    fixed = constants | {value for value in graph.inputs if value.name in slots}
    lifted = set()
    for node in graph:
        read = {value for value in node.inputs if value is not None}
        if read & once and read <= once | fixed:
            lifted.add(node)
            once.update(node.outputs)
    inside = set(graph) - lifted - set(constant)
    if not lifted:
        return Placement([], constant, [node for node in graph if node in inside])
    for_lifted, folded = _needed_by(lifted, constant), _needed_by(inside, constant)
    return Placement(
        [node for node in graph if node in lifted | for_lifted],
        [node for node in graph if node in folded],
        [node for node in graph if node in inside],
    )


def _needed_by(readers: Iterable[ir.Node], among: Collection[ir.Node]) -> set[ir.Node]:
    """Which of some nodes the readers cannot do without."""
    needed: set[ir.Node] = set()
    waiting, candidates = list(readers), set(among)
    while waiting:
        for value in waiting.pop().inputs:
            producer = None if value is None else value.producer()
            if producer in candidates - needed:
                needed.add(producer)
                waiting.append(producer)
    return needed
