"""A tape records the nodes of an ONNX graph under readable names: all that beamgen writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

if TYPE_CHECKING:  # a file is traced without onnxscript
    from onnxscript import OnnxFunction


class Results:
    """Values by name, in the order in which a function, an If or a Loop gives them.

    Each is an attribute, and all of them can be unpacked.
    """

    __slots__ = ("_values",)

    _values: Mapping[str, ir.Value]

    def __init__(self, **values: ir.Value) -> None:
        """Hold values under these names."""
        object.__setattr__(self, "_values", values)

    def __getattr__(self, name: str) -> ir.Value:
        """Give the value of a name.

        Raises:
            AttributeError: there is none of that name.
        """
        if name not in self._values:
            raise AttributeError(f"there is {', '.join(self._values)}, and no {name}")
        return self._values[name]

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to change what was recorded."""
        raise AttributeError("results cannot be changed")

    def __iter__(self) -> Iterator[ir.Value]:
        """Give the values alone, to be unpacked."""
        return iter(self._values.values())

    def items(self) -> Iterable[tuple[str, ir.Value]]:
        """The values with their names."""
        return self._values.items()


class Tape:
    """Records nodes under a prefix, so that a viewer shows where they belong."""

    def __init__(self, prefix: str, recorded: ir.tape.Tape | None = None) -> None:
        """An empty tape, or one that goes on where another stands."""
        self.prefix = prefix
        self._recorded = recorded or ir.tape.Tape()

    @property
    def nodes(self) -> Sequence[ir.Node]:
        """The nodes, in the order in which they were recorded."""
        return self._recorded.nodes

    @property
    def initializers(self) -> Sequence[ir.Value]:
        """The constants that were recorded."""
        return self._recorded.initializers

    def section(self, prefix: str) -> Tape:
        """The same tape under another prefix."""
        return Tape(prefix, self._recorded)

    def call(self, function: OnnxFunction[Any, Any], *inputs: ir.Value) -> Results:
        """Call one of our functions; its results have the names under which it returns them."""
        names = [value.name or "" for value in function.function_ir.outputs]
        return self.node(function.name, inputs, names, domain=function.opset.domain)

    def value(
        self, function: OnnxFunction[Any, Any], *inputs: ir.Value, name: str | None = None
    ) -> ir.Value:
        """Call a function of one result, which is called after it unless it is named.

        Raises:
            ValueError: the function gives several.
        """
        if len(function.function_ir.outputs) != 1:
            raise ValueError(f"{function.name} gives several results")
        domain, called = function.opset.domain, name or function.name
        (value,) = self.node(function.name, inputs, [called], domain=domain)
        return value

    def standard(self, op_type: str, *inputs: ir.Value, output: str, **attributes: Any) -> ir.Value:
        """Record a standard operator of one output."""
        (value,) = self.node(op_type, inputs, [output], attributes)
        return value

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        outputs: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        *,
        domain: str = "",
    ) -> Results:
        """Record any node, which is called after its first output."""
        values = [ir.Value(name=f"{self.prefix}/{name}") for name in outputs]
        self._recorded.op_multi_out(
            op_type, inputs, attributes, domain=domain, outputs=values, name=values[0].name
        )
        return Results(**dict(zip(outputs, values, strict=True)))

    def branch(
        self,
        condition: ir.Value,
        then: Callable[[Tape], Results],
        otherwise: Callable[[Tape], Results],
        *,
        sides: tuple[str, str],
    ) -> Results:
        """Record an If of two sides, each of which records itself and gives the same names.

        Args:
            condition: a scalar bool.
            then: what is done where it is true.
            otherwise: what is done where it is false.
            sides: the names of the two.

        Raises:
            ValueError: the two give results of other names.
        """
        branches, given = {}, []
        for attribute, name, record in zip(
            ("then_branch", "else_branch"), sides, (then, otherwise), strict=True
        ):
            tape = Tape(f"{self.prefix}/{name}")
            # a subgraph may not hand on what is not its own
            results = {
                output: tape.standard("Identity", value, output=f"{output}.out")
                for output, value in record(tape).items()
            }
            given.append(list(results))
            branches[attribute] = ir.Graph(
                [],
                list(results.values()),
                nodes=tape.nodes,
                initializers=tape.initializers,
                name=tape.prefix,
            )
        if given[0] != given[1]:
            raise ValueError(f"{sides[0]} gives {given[0]}, {sides[1]} gives {given[1]}")
        return self.node("If", [condition], given[0], branches)

    def constant(self, name: str, value: object, dtype: npt.DTypeLike = np.int64) -> ir.Value:
        """Record a constant, which bodies within the graph may read too."""
        return self._recorded.initializer(
            ir.tensor(np.asarray(value, dtype), name=f"{self.prefix}/{name}")
        )

    def ints(self, name: str, values: Sequence[int]) -> ir.Value:
        """Record a constant ``[n]`` as a node, where a graph's initializers are not to change."""
        return self.standard("Constant", output=name, value_ints=values)

    def strings(self, name: str, values: Sequence[bytes]) -> ir.Value:
        """Record a constant ``[n]`` of strings, which need not be UTF-8."""
        shape = ir.Shape([len(values)])
        return self._recorded.initializer(
            ir.StringTensor(values, shape=shape, name=f"{self.prefix}/{name}")
        )

    def copy(self, nodes: Iterable[ir.Node], values: dict[ir.Value, ir.Value]) -> None:
        """Record nodes of another graph; ``values`` says what stands for each value, and learns."""
        for node in nodes:
            inputs = [values[value] if value is not None else None for value in node.inputs]
            # an output without a name is one that the node does not give
            names = [f"{self.prefix}/{old.name}" if old.name else "" for old in node.outputs]
            copies = [ir.Value(name=name) for name in names]
            self._recorded.op_multi_out(
                node.op_type,
                inputs,
                node.attributes,
                domain=node.domain,
                outputs=copies,
                name=next(filter(None, names), None),
            )
            values |= zip(node.outputs, copies, strict=True)

    def insert_before(self, node: ir.Node) -> None:
        """Put what was recorded into that node's graph, before it."""
        assert node.graph is not None, "a node to insert before is part of a graph"
        for value in self.initializers:
            node.graph.register_initializer(value)
        node.graph.insert_before(node, self.nodes)

    def append_to(self, graph: ir.Graph) -> None:
        """Put what was recorded at the end of a graph."""
        for value in self.initializers:
            graph.register_initializer(value)
        graph.extend(self.nodes)


def stored(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    """The initializer of a tensor's name; one that the graph has already stays as it is."""
    assert tensor.name is not None, "what is stored has a name"
    if tensor.name not in graph.initializers:
        graph.register_initializer(ir.tape.Tape().initializer(tensor))
    return graph.initializers[tensor.name]


def shared_weight(weight: ir.Value) -> ir.Value:
    """The same tensor as an initializer of another graph."""
    return ir.Value(
        name=weight.name, type=weight.type, shape=weight.shape, const_value=weight.const_value
    )


def replace(old: ir.Value, new: ir.Value) -> None:
    """Let a value stand for another wherever that is read, and take its name."""
    new.type, new.shape = old.type, old.shape
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    new.name, old.name = old.name, None


def body(function: OnnxFunction[Any, Any]) -> ir.Function:
    """What a call of one of our functions does."""
    found = ir.serde.deserialize_function(function.to_function_proto())
    # onnxscript does not import the domains of what only the body of a loop calls
    for node in found.all_nodes():
        found.opset_imports.setdefault(node.domain, 1)
    return found


def define(model: ir.Model, functions: Iterable[ir.Function]) -> None:
    """Let a model hold functions that its nodes call."""
    for function in functions:
        model.functions[function.identifier()] = function
