"""A tape records the nodes of an ONNX graph under readable names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

if TYPE_CHECKING:  # a file is traced without onnxscript
    from onnxscript import OnnxFunction


class Tape:
    """Records nodes under a prefix, so that a viewer shows where they belong."""

    def __init__(self, prefix: str, recorded: ir.tape.Tape | None = None) -> None:
        """An empty tape, or one that goes on where another stands."""
        self.prefix = prefix
        self._recorded = recorded or ir.tape.Tape()

    @property
    def nodes(self) -> Sequence[ir.Node]:
        """In the order in which they were recorded."""
        return self._recorded.nodes

    @property
    def initializers(self) -> Sequence[ir.Value]:
        """The constants."""
        return self._recorded.initializers

    def section(self, prefix: str) -> Tape:
        """The same tape under another prefix."""
        return Tape(prefix, self._recorded)

    def call(
        self, function: OnnxFunction[Any, Any], *inputs: ir.Value, outputs: str
    ) -> Sequence[ir.Value]:
        """Call one of our functions; ``outputs`` names its results."""
        named = [ir.Value(name=f"{self.prefix}/{name}") for name in outputs.split()]
        return self.node(function.name, inputs, named, domain=function.opset.domain)

    def standard(self, op_type: str, *inputs: ir.Value, output: str, **attributes: Any) -> ir.Value:
        """One standard operator."""
        named = ir.Value(name=f"{self.prefix}/{output}")
        return self.node(op_type, inputs, [named], attributes)[0]

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        outputs: Sequence[ir.Value],
        attributes: Mapping[str, Any] | None = None,
        *,
        domain: str = "",
    ) -> Sequence[ir.Value]:
        """Any node, called after its first output."""
        return self._recorded.op_multi_out(
            op_type, inputs, attributes, domain=domain, outputs=outputs, name=outputs[0].name
        )

    def branch(
        self,
        condition: ir.Value,
        then: Callable[[Tape], Sequence[ir.Value]],
        otherwise: Callable[[Tape], Sequence[ir.Value]],
        *,
        names: tuple[str, str],
        outputs: str,
    ) -> Sequence[ir.Value]:
        """An If of two sides, each of which records itself and gives the same outputs."""
        sides = {}
        for attribute, name, record in zip(
            ("then_branch", "else_branch"), names, (then, otherwise), strict=True
        ):
            tape = Tape(f"{self.prefix}/{name}")
            # a subgraph may not hand on what is not its own
            results = [
                tape.standard("Identity", value, output=f"{output}.out")
                for output, value in zip(outputs.split(), record(tape), strict=True)
            ]
            sides[attribute] = ir.Graph(
                [], results, nodes=tape.nodes, initializers=tape.initializers, name=tape.prefix
            )
        named = [ir.Value(name=f"{self.prefix}/{name}") for name in outputs.split()]
        return self.node("If", [condition], named, sides)

    def constant(self, name: str, value: object, dtype: npt.DTypeLike = np.int64) -> ir.Value:
        """A constant of the graph that is recorded, which bodies within may read too."""
        return self._recorded.initializer(
            ir.tensor(np.asarray(value, dtype), name=f"{self.prefix}/{name}")
        )

    def ints(self, name: str, values: Sequence[int]) -> ir.Value:
        """A constant ``[n]`` as a node, where a graph's initializers are not to change."""
        return self.standard("Constant", output=name, value_ints=values)

    def strings(self, name: str, values: Sequence[bytes]) -> ir.Value:
        """A constant ``[n]`` of strings, which need not be UTF-8."""
        shape = ir.Shape([len(values)])
        return self._recorded.initializer(
            ir.StringTensor(values, shape=shape, name=f"{self.prefix}/{name}")
        )


def copy_nodes(tape: Tape, nodes: Iterable[ir.Node], values: dict[ir.Value, ir.Value]) -> None:
    """Record nodes of another graph; ``values`` says what stands for each value, and learns."""
    for node in nodes:
        copies = [ir.Value(name=f"{tape.prefix}/{old.name}") for old in node.outputs]
        inputs = [values[value] if value is not None else None for value in node.inputs]
        tape.node(node.op_type, inputs, copies, node.attributes, domain=node.domain)
        values |= zip(node.outputs, copies, strict=True)


def shared_weight(weight: ir.Value) -> ir.Value:
    """The same tensor as an initializer of another graph."""
    return ir.Value(
        name=weight.name, type=weight.type, shape=weight.shape, const_value=weight.const_value
    )
