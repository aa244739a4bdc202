"""A decoder that computes in float16: what a file for a GPU would be made of."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from beamgen.decoder.graph import DecoderGraph
from beamgen.tape import Tape, stored

HALF, WHOLE = ir.DataType.FLOAT16, ir.DataType.FLOAT
#: What hides an entry: two of them are no infinity yet.
HIDDEN = float(np.finfo(np.float16).min) / 2
#: Sums of squares and angles of positions, for which float16 has too few numbers.
_WIDE = ("Pow", "ReduceMean", "ReduceSum", "Sqrt", "Reciprocal", "Cos", "Sin", "Exp", "CumSum")
_PRODUCTS = ("MatMul", "Gemm")


def compute_in_half(decoder: DecoderGraph) -> None:
    """Let a decoder of the loop contract compute in float16; it is changed.

    Its weights and caches become float16. The bias comes and the logits go as float32, as the
    search has them; norms written out, rotary angles and what is made of these alone stay
    float32.
    """
    assert not decoder.slots, "LoRAs are fed as float32"
    graph = decoder.model.graph
    for node in graph:
        for value in node.outputs:  # what passes have put there has no type yet
            like = ir.DataType.INT64 if node.op_type == "Shape" else node.inputs[0].dtype
            value.dtype = value.dtype or like
    converted = _Converted(graph)
    for value in [*graph.inputs, *graph.outputs]:
        if value.dtype == WHOLE and value.name not in ("attention_bias", "logits"):
            value.dtype = HALF
    for node in list(graph):
        converted.retype(node)
    for function in decoder.model.functions.values():
        for node in function.all_nodes():
            if "value_float" in node.attributes:
                number = np.array(node.attributes.pop("value_float").as_float(), np.float16)
                node.attributes["value"] = ir.AttrTensor("value", ir.tensor(number))
    for value in list(graph.initializers.values()):
        if not value.uses():
            del graph.initializers[value.name]


def _wide(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that stay float32: some operators, what angles are made of, and what follows."""
    wide = {node for node in graph if node.op_type in _WIDE}
    angles = [node for node in wide if node.op_type in ("Cos", "Sin")]
    while angles:
        for value in angles.pop().inputs:
            producer = value.producer() if value is not None else None
            if producer is not None and value.dtype == WHOLE and producer not in wide:
                wide.add(producer)
                angles.append(producer)
    for node in graph:
        floats = [v for v in node.inputs if v is not None and v.dtype == WHOLE]
        computed = [value.producer() for value in floats if not value.is_initializer()]
        if computed and wide.issuperset(computed) and node.op_type not in _PRODUCTS:
            wide.add(node)
    return wide


class _Converted:
    """Values in the type that their readers want, each converted once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._wide = _wide(graph)
        self._cast: dict[ir.Value, ir.Value] = {}

    def retype(self, node: ir.Node) -> None:
        """Give a node inputs of one type, and its results theirs."""
        own = WHOLE if node in self._wide else HALF
        tape = Tape(node.name or node.op_type)
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in (WHOLE, HALF):
                node.replace_input_with(index, self._in(tape, value, own))
        tape.insert_before(node)
        if own == WHOLE:
            return
        if node.op_type == "Cast" and node.attributes.get_int("to", 0) == WHOLE:
            node.attributes["to"] = ir.AttrInt64("to", HALF)
        assert node.op_type != "ConstantOfShape" or node.outputs[0].dtype != WHOLE
        for output in node.outputs:
            if output.name == "logits":
                self._give_logits(output)
            elif output.dtype == WHOLE:
                output.dtype = HALF

    def _in(self, tape: Tape, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        if value.dtype == dtype:
            return value
        if value.is_initializer():
            tensor = value.const_value.numpy().astype(dtype.numpy())
            assert np.isfinite(tensor).all(), value.name
            return stored(self._graph, ir.tensor(tensor, name=f"{value.name}.{dtype.name}"))
        if value not in self._cast:
            near = value
            if value.name == "attention_bias":
                least = tape.constant("hidden", HIDDEN, np.float32)
                near = tape.standard("Max", value, least, output="near")
            cast = tape.standard("Cast", near, output=f"{value.name}.{dtype.name}", to=dtype)
            cast.dtype, cast.shape = dtype, value.shape
            self._cast[value] = cast
        return self._cast[value]

    def _give_logits(self, logits: ir.Value) -> None:
        tape = Tape("logits")
        whole = tape.standard("Cast", logits, output="whole", to=WHOLE)
        tape.append_to(self._graph)
        whole.type, whole.shape = ir.TensorType(WHOLE), logits.shape
        self._graph.outputs[self._graph.outputs.index(logits)] = whole
        logits.name, whole.name = "half_logits", "logits"
        logits.dtype = HALF
