"""What a search graph is put together from: named nodes, inputs, a decoder's copies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnxscript import OnnxFunction

from beamgen.beam_output import OUTPUT_MEANINGS
from beamgen.decoder.contract import slot_ports
from beamgen.lora.slots import Slot
from beamgen.onnx_domain import DOMAIN
from beamgen.parameters import Parameter

Function = OnnxFunction[Any, Any]

_NO_WINDOW = 2**62


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

    def call(self, function: Function, *inputs: ir.Value, outputs: str) -> Sequence[ir.Value]:
        """Call one of our functions; ``outputs`` names its results."""
        named = [ir.Value(name=f"{self.prefix}/{name}") for name in outputs.split()]
        return self.node(function.name, inputs, named, domain=DOMAIN)

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


def attended_window(tape: Tape, attention_window: int | None) -> ir.Value:
    """How many tokens a position sees, itself included, int64 ``[1]``."""
    return tape.constant("attention_window", [attention_window or _NO_WINDOW])


def prompt_input(name: str, meaning: str, dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
    """An input ``[batch, prompt_len]``."""
    return ir.Value(
        name=name,
        type=ir.TensorType(dtype),
        shape=ir.Shape(["batch", "prompt_len"]),
        doc_string=meaning,
    )


def search_output(value: ir.Value, name: str, dtype: ir.DataType, *further: str) -> ir.Value:
    """Declare a value as an output ``[batch, num_return_sequences, ...]``."""
    value.name = name
    value.dtype = dtype
    value.shape = ir.Shape(["batch", "num_return_sequences", *further])
    value.doc_string = OUTPUT_MEANINGS[name]
    return value


def parameter_inputs(
    parameters: Iterable[Parameter],
    defaults: Mapping[str, npt.NDArray[Any]],
    required: Collection[str] = (),
) -> dict[str, ir.Value]:
    """Inputs that are initializers too: their defaults, which a caller may override.

    Those that are required have no default. Each axis has a name of its own: one
    row's value and all rows' do not meet.
    """
    values = {}
    for parameter in parameters:
        tensor = ir.tensor(defaults[parameter.name], name=parameter.name)
        axes = [
            int(axis) if axis.isdecimal() else f"{axis}_{parameter.name}" for axis in parameter.axes
        ]
        values[parameter.name] = ir.Value(
            name=parameter.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(axes),
            const_value=None if parameter.name in required else tensor,
            doc_string=parameter.meaning,
        )
    return values


def slot_inputs(
    slots: Iterable[Slot], rows: int | str, required: Collection[str] = ()
) -> dict[str, ir.Value]:
    """Inputs for a LoRA's A and B, whose default is of rank 0 unless ``lora`` is required."""
    values = {}
    for slot in slots:
        ports = slot_ports(slot, rows).items()
        for (name, port), empty in zip(ports, slot.empty(), strict=True):
            values[name] = ir.Value(
                name=name,
                type=ir.TensorType(port.dtype),
                shape=ir.Shape(port.shape),
                const_value=None if "lora" in required else ir.tensor(empty, name=name),
            )
    return values


def with_default(inputs: Iterable[ir.Value]) -> list[ir.Value]:
    """Those that are initializers too."""
    return [value for value in inputs if value.const_value is not None]


class DecoderCopier:
    """Puts the decoder's nodes into a graph, over shared weights."""

    def __init__(self, graph: ir.Graph, slots: Mapping[str, ir.Value]) -> None:
        """The weights become initializers of the new main graph, see ``weights``.

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
        """One more copy, fed by input name -> logits and the present tensors."""
        given = {**feeds, **self._slots}
        return copied_decoder(tape, self._graph, self._graph, self._weights, given)


def copied_decoder(
    tape: Tape,
    graph: ir.Graph,
    nodes: Iterable[ir.Node],
    constants: Mapping[ir.Value, ir.Value],
    feeds: Mapping[str, ir.Value],
) -> tuple[ir.Value, list[ir.Value]]:
    """Record a decoder's nodes -> logits and the present tensors.

    Args:
        tape: of the graph that they go into.
        graph: the decoder's.
        nodes: those of its nodes that go there.
        constants: what stands for its weights, and for the nodes that do not go there.
        feeds: its inputs, by name.
    """
    values = {**constants, **{value: feeds[value.name or ""] for value in graph.inputs}}
    copy_nodes(tape, nodes, values)
    logits, *present = (values[value] for value in graph.outputs)
    return logits, present


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
