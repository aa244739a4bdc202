"""Store a decoder's weights in fewer bits, each once.

*int8*: a product becomes ``RoundTokens -> MatMulInteger -> Cast -> Mul -> Mul``, where each
token has a scale of its own. *int4*: ``com.microsoft::MatMulNBits``. *fp16*: a ``Cast`` to
float32 behind each weight, which ONNX Runtime computes once, as it loads the file.

A token embedding is gathered from its rounded rows. A head that is tied to it reads
the same tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common as passes

from beamgen.decoder.passes.round_tokens import RoundTokens
from beamgen.errors import AdapterError
from beamgen.onnx_domain import DOMAIN
from beamgen.quantization.record import Precision
from beamgen.quantization.rounding import BLOCK, MIDDLE, STEP, Floats, int4_blocks, int8_rows
from beamgen.quantization.saturation import saturates

_MICROSOFT = "com.microsoft"
_FLOAT = ir.DataType.FLOAT
_ROUNDED_ACTIVATIONS = 4  # an accuracy_level


@dataclass(frozen=True)
class _Product:
    """``x W``: the nodes that compute it, and where the result goes.

    Attributes:
        reader: the node whose first input is x, ``[..., k]``.
        weight: an initializer, ``[k, n]`` or, where ``by_row``, ``[n, k]``.
        by_row: whether the weight has a row for each output channel.
        out: ``[..., n]``.
        node: the product; what it takes the place of goes when nothing reads it any more.
    """

    reader: ir.Node
    weight: ir.Value
    by_row: bool
    out: ir.Value
    node: ir.Node

    @property
    def x(self) -> ir.Value:
        """As it is now: another product may have given it."""
        value = self.reader.inputs[0]
        assert value is not None, "checked by _products"
        return value

    def rows(self) -> Floats:
        """The weight ``[n, k]``."""
        values = _values(self.weight)
        return values if self.by_row else np.ascontiguousarray(values.T)


@dataclass(frozen=True)
class _Lookup:
    """``Gather(table, ids)`` along the rows."""

    ids: ir.Value
    table: ir.Value
    node: ir.Node


def quantize(decoder: ir.Model, precision: str, int8_weights: str = "auto") -> Precision:
    """Round the weights of a decoder, which is changed.

    All products with a constant matrix, and the tables that the token ids choose from;
    position tables, norms and biases stay float32.

    Args:
        decoder: cleaned, see ``decoder.export``.
        precision: ``fp32`` (nothing is done), ``fp16``, ``int8`` or ``int4``.
        int8_weights: ``s8``, ``u8``, or ``auto``: unsigned where this CPU saturates.

    Raises:
        AdapterError: the decoder has no such products.
    """
    if precision == "fp32":
        return Precision()
    products, lookups = _products(decoder.graph), _lookups(decoder.graph)
    if not products:
        raise AdapterError(
            "the decoder has no product with a constant matrix, so nothing can be rounded",
            "export it in fp32",
        )
    weights = dict.fromkeys([p.weight for p in products] + [lookup.table for lookup in lookups])
    names = tuple(_hf_name(weight) for weight in weights)
    record = _STORE[precision](_Writer(decoder.graph), products, lookups, int8_weights)
    # of the graph alone: in a function the pass drops outputs that ONNX Runtime asks for
    bodies = dict(decoder.functions)
    decoder.functions.clear()
    passes.RemoveUnusedNodesPass()(decoder)
    decoder.functions.update(bodies)
    if record.name == "int8":
        decoder.opset_imports[DOMAIN] = 1
        body = ir.serde.deserialize_function(RoundTokens.to_function_proto())
        decoder.functions[body.identifier()] = body
    if record.operators == _MICROSOFT:
        decoder.opset_imports[_MICROSOFT] = 1
    return replace(record, quantized=names)


def _products(graph: ir.Graph) -> list[_Product]:
    found = []
    for node in graph:
        if node.domain != "" or node.op_type not in ("MatMul", "Gemm"):
            continue
        x, weight = node.inputs[:2]
        if x is None or not _is_matrix(weight):
            continue
        assert weight is not None, "checked by _is_matrix"
        if node.op_type == "MatMul":
            found.append(_Product(node, weight, False, node.outputs[0], node))
        elif len(node.inputs) == 2 and node.attributes.get_int("transB", 0) == 1:
            found.append(_tied_head(node, x.producer(), weight))
    return found


def _tied_head(node: ir.Node, before: ir.Node | None, weight: ir.Value) -> _Product:
    """What ``place_weights`` wrote: Reshape, Gemm, Reshape, of which no operator here needs any."""
    (after,) = [use.node for use in node.outputs[0].uses()]
    assert before is not None, "place_weights wrote it"
    assert before.op_type == after.op_type == "Reshape", "place_weights wrote them"
    return _Product(before, weight, True, after.outputs[0], node)


def _lookups(graph: ir.Graph) -> list[_Lookup]:
    """The tables that ``input_ids`` choose from."""
    ids = next(value for value in graph.inputs if value.name == "input_ids")
    return [
        _Lookup(ids, node.inputs[0], node)
        for node, index in ids.uses()
        if node.op_type == "Gather"
        and index == 1
        and node.inputs[0] is not None
        and _is_matrix(node.inputs[0])
        and not node.attributes.get_int("axis", 0)
    ]


def _is_matrix(value: ir.Value | None) -> bool:
    return (
        value is not None
        and value.is_initializer()
        and value.dtype == _FLOAT
        and value.shape is not None
        and len(value.shape) == 2
    )


def _values(weight: ir.Value) -> Floats:
    assert weight.const_value is not None, "an initializer holds a tensor"
    values: Floats = weight.const_value.numpy()
    return values


def _hf_name(weight: ir.Value) -> str:
    """``model.lm_head.weight.T`` -> ``lm_head.weight``: the traced step holds HF's ``model``."""
    return (weight.name or "").removeprefix("model.").removesuffix(".T")


class _Writer:
    """Puts nodes where a product or lookup stood, over tensors that are stored once."""

    def __init__(self, graph: ir.Graph) -> None:
        """Write into this graph."""
        self._graph = graph
        self._tape = ir.tape.Tape()
        self._node: ir.Node | None = None
        self._rounded: dict[ir.Value, Sequence[ir.Value]] = {}

    def at(self, node: ir.Node) -> None:
        """What follows takes this node's place."""
        self._node, self._tape = node, ir.tape.Tape()

    def at_start(self) -> None:
        """What follows comes before everything."""
        self.at(self._graph[0])

    def stored(self, name: str, values: npt.NDArray[Any]) -> ir.Value:
        """An initializer; one of that name stays as it is."""
        if name not in self._graph.initializers:
            tensor = ir.tensor(values, name=name)
            value = ir.Value(
                name=name,
                type=ir.TensorType(tensor.dtype),
                shape=ir.Shape(values.shape),
                const_value=tensor,
            )
            self._graph.register_initializer(value)
        return self._graph.initializers[name]

    def op(
        self,
        op_type: str,
        *inputs: ir.Value,
        output: str,
        domain: str = "",
        **attributes: Any,
    ) -> ir.Value:
        """A node with one output, called after the node it replaces."""
        return self.ops(op_type, *inputs, outputs=output, domain=domain, **attributes)[0]

    def ops(
        self,
        op_type: str,
        *inputs: ir.Value,
        outputs: str,
        domain: str = "",
        **attributes: Any,
    ) -> Sequence[ir.Value]:
        """A node with several outputs."""
        assert self._node is not None, "at() comes first"
        named = [ir.Value(name=f"{self._node.name}/{name}") for name in outputs.split()]
        return self._tape.op_multi_out(
            op_type, inputs, attributes, domain=domain, outputs=named, name=named[0].name
        )

    def rounded(self, x: ir.Value) -> Sequence[ir.Value]:
        """Activations as uint8 and their peaks, computed once for all readers."""
        if x not in self._rounded:
            outputs = "x peaks"
            self._rounded[x] = self.ops("RoundTokens", x, outputs=outputs, domain=DOMAIN)
        return self._rounded[x]

    def write(self) -> None:
        """Write the nodes."""
        assert self._node is not None, "at() comes first"
        self._graph.insert_before(self._node, self._tape.nodes)

    def put(self, out: ir.Value, result: ir.Value) -> None:
        """Write the nodes, and let their result stand for ``out``."""
        self.write()
        result.type, result.shape = out.type, out.shape
        ir.convenience.replace_all_uses_with(out, result, replace_graph_outputs=True)
        result.name, out.name = out.name, None


def _to_int8(
    write: _Writer, products: Sequence[_Product], lookups: Sequence[_Lookup], int8_weights: str
) -> Precision:
    """One scale for each output channel; numbers signed, or unsigned around 128."""
    saturating = saturates()
    signed = int8_weights == "s8" or (int8_weights == "auto" and not saturating)
    dtype = "int8" if signed else "uint8"
    middle = write.stored("quantized.zero_point", np.array(MIDDLE, np.uint8))
    share = write.stored("quantized.step", np.array(STEP, np.float32))
    seen: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def stored(weight: ir.Value, by_row: bool) -> tuple[ir.Value, ir.Value]:
        """Numbers in the weight's own layout, and a scale for each channel."""
        if weight not in seen:
            values = _values(weight)
            numbers, scales = int8_rows(values if by_row else values.T)
            placed = numbers if by_row else numbers.T
            unsigned = (placed.astype(np.int16) + MIDDLE).astype(np.uint8)
            seen[weight] = (
                write.stored(
                    f"{weight.name}.{dtype}", np.ascontiguousarray(placed if signed else unsigned)
                ),
                write.stored(f"{weight.name}.scales", scales),
            )
        return seen[weight]

    for product in products:
        write.at(product.node)
        numbers, scales = stored(product.weight, product.by_row)
        if product.by_row:
            # of an initializer alone: ONNX Runtime computes it as it loads the file
            numbers = write.op("Transpose", numbers, output="weight", perm=[1, 0])
        x, peaks = write.rounded(product.x)
        operands = [x, numbers, middle] if signed else [x, numbers, middle, middle]
        summed = write.op("MatMulInteger", *operands, output="sum")
        floats = write.op("Cast", summed, output="float", to=_FLOAT)
        # of initializers alone, as the Transpose
        steps = write.op("Mul", scales, share, output="steps")
        by_channel = write.op("Mul", floats, steps, output="by_channel")
        write.put(product.out, write.op("Mul", by_channel, peaks, output="product"))
    for lookup in lookups:
        write.at(lookup.node)
        numbers, scales = stored(lookup.table, True)
        row = write.op("Gather", numbers, lookup.ids, output="row")
        row = write.op("Cast", row, output="float", to=_FLOAT)
        if not signed:
            half = write.stored("quantized.middle", np.array(MIDDLE, np.float32))
            row = write.op("Sub", row, half, output="around_zero")
        scale = write.op("Gather", scales, lookup.ids, output="scale")
        last = write.stored("quantized.last_axis", np.array([-1], np.int64))
        scale = write.op("Unsqueeze", scale, last, output="scale_of_row")
        write.put(lookup.node.outputs[0], write.op("Mul", row, scale, output="embedding"))
    return Precision(
        name="int8",
        weights=dtype,
        zero_point=0 if signed else MIDDLE,
        activations="uint8, one scale for a token",
        saturates=saturating,
    )


def _to_int4(
    write: _Writer, products: Sequence[_Product], lookups: Sequence[_Lookup], _: str
) -> Precision:
    """Blocks of 32 weights share a scale, in the layout of ``MatMulNBits``."""
    seen: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def stored(weight: ir.Value, rows: Callable[[], Floats]) -> tuple[ir.Value, ir.Value]:
        """Packed ``[n, blocks * 16]`` and scales ``[n, blocks]``."""
        if weight not in seen:
            packed, scales = int4_blocks(rows())
            seen[weight] = (
                write.stored(f"{weight.name}.uint4", packed.reshape(len(packed), -1)),
                write.stored(f"{weight.name}.scales", scales),
            )
        return seen[weight]

    for product in products:
        write.at(product.node)
        packed, scales = stored(product.weight, product.rows)
        assert scales.shape is not None, "an initializer has a shape"
        channels, blocks = (int(dim) for dim in scales.shape.numpy())
        in_blocks = np.array([channels, blocks, BLOCK // 2], np.int64)
        shape = write.stored(f"quantized.{channels}x{blocks}", in_blocks)
        # of initializers alone: ONNX Runtime computes it as it loads the file
        packed = write.op("Reshape", packed, shape, output="weight")
        assert product.weight.shape is not None, "an initializer has a shape"
        width = int(product.weight.shape.numpy()[1 if product.by_row else 0])
        result = write.op(
            "MatMulNBits",
            *(product.x, packed, scales),
            output="product",
            domain=_MICROSOFT,
            K=width,
            N=channels,
            bits=4,
            block_size=BLOCK,
            accuracy_level=_ROUNDED_ACTIVATIONS,
        )
        write.put(product.out, result)
    for lookup in lookups:
        write.at(lookup.node)
        packed, scales = stored(lookup.table, partial(_values, lookup.table))
        row = write.op(
            "GatherBlockQuantized",
            *(packed, lookup.ids, scales),
            output="row",
            domain=_MICROSOFT,
            bits=4,
            block_size=BLOCK,
            gather_axis=0,
            quantize_axis=1,
        )
        write.put(lookup.node.outputs[0], _cut(write, row, lookup.table))
    return Precision(
        name="int4",
        weights="uint4",
        zero_point=8,
        block_size=BLOCK,
        activations=f"int8, one scale for {BLOCK} of a token",
        accuracy_level=_ROUNDED_ACTIVATIONS,
    )


def _cut(write: _Writer, row: ir.Value, table: ir.Value) -> ir.Value:
    """Rows without what fills their last block."""
    assert table.shape is not None, "an initializer has a shape"
    width = int(table.shape.numpy()[1])
    if width % BLOCK == 0:
        return row
    start, end, last = (
        write.stored(f"quantized.slice_{value}", np.array([value], np.int64))
        for value in (0, width, -1)
    )
    return write.op("Slice", row, start, end, last, output="embedding")


def _to_float16(
    write: _Writer, products: Sequence[_Product], lookups: Sequence[_Lookup], _: str
) -> Precision:
    """Half the bytes in the file; the arithmetic is float32's, and so is the memory it takes."""
    weights = [product.weight for product in products] + [lookup.table for lookup in lookups]
    write.at_start()
    for weight in dict.fromkeys(weights):
        half = write.stored(f"{weight.name}.float16", _values(weight).astype(np.float16))
        weight.replace_all_uses_with(write.op("Cast", half, output=f"{weight.name}", to=_FLOAT))
    write.write()
    return Precision(name="fp16", weights="float16")


_STORE = {"fp16": _to_float16, "int8": _to_int8, "int4": _to_int4}
