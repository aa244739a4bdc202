"""Store a decoder's weights in fewer bits, each once.

*w16*, *int8* and *int4* have files of their own. *fp16*: a ``Cast`` to float32 behind each
weight, which ONNX Runtime computes once, as it loads the file.

A token embedding is gathered from its rounded rows. A head that is tied to it reads
the same tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from beamgen.decoder.passes import int4
from beamgen.decoder.passes.int4 import to_int4
from beamgen.decoder.passes.int8 import to_int8
from beamgen.decoder.passes.products import (
    Lookup,
    Product,
    find_lookups,
    find_products,
    hf_name,
    part_biases,
    values_of,
    weights_of,
)
from beamgen.decoder.passes.round_tokens import (
    RoundSomeTokens,
    RoundSomeTokensToPlanes,
    RoundTokens,
    RoundTokensToPlanes,
)
from beamgen.decoder.passes.w16 import to_w16
from beamgen.errors import AdapterError
from beamgen.onnx_domain import DOMAIN
from beamgen.quantization.record import Precision
from beamgen.tape import Tape, body, define, stored


def quantize(decoder: ir.Model, precision: str, int8_weights: str = "auto") -> Precision:
    """Round the weights of a decoder, which is changed.

    All products with a constant matrix, and the tables that the token ids choose from;
    position tables, norms and biases stay float32.

    Args:
        decoder: cleaned, see ``decoder.export``.
        precision: ``fp32`` (nothing is done), ``w16``, ``fp16``, ``int8`` or ``int4``.
        int8_weights: ``s8``, ``u8``, or ``auto``: unsigned where this CPU saturates.

    Raises:
        AdapterError: the decoder has no such products.
    """
    if precision == "fp32":
        return Precision()
    part_biases(decoder.graph)
    products, lookups = find_products(decoder.graph), find_lookups(decoder.graph)
    if not products:
        raise AdapterError(
            "the decoder has no product with a constant matrix, so nothing can be rounded",
            "export it in fp32",
        )
    names = tuple(dict.fromkeys(map(hf_name, weights_of(products, lookups))))
    record = _STORE[precision](decoder.graph, products, lookups, int8_weights)
    # of the graph alone: in a function the pass drops outputs that ONNX Runtime asks for
    bodies = dict(decoder.functions)
    decoder.functions.clear()
    passes.RemoveUnusedNodesPass()(decoder)
    decoder.functions.update(bodies)
    called = {node.op_type for node in decoder.graph}
    if rounding := [body(each) for each in _ROUNDING if each.name in called]:
        decoder.opset_imports[DOMAIN] = 1
        define(decoder, rounding)
    if record.operators == int4.DOMAIN:
        decoder.opset_imports[int4.DOMAIN] = 1
    return replace(record, quantized=names)


def _to_float16(
    graph: ir.Graph, products: Sequence[Product], lookups: Sequence[Lookup], _: str
) -> Precision:
    """Store half the bytes; the arithmetic is float32's, and so is the memory that it takes."""
    first = graph[0]
    tape = Tape(first.name or first.op_type)
    for weight in weights_of(products, lookups):
        values = ir.tensor(values_of(weight).astype(np.float16), name=f"{weight.name}.float16")
        half = stored(graph, values)
        whole = tape.standard("Cast", half, output=f"{weight.name}", to=ir.DataType.FLOAT)
        weight.replace_all_uses_with(whole)
    tape.insert_before(first)
    return Precision(name="fp16", weights="float16")


_STORE = {"w16": to_w16, "fp16": _to_float16, "int8": to_int8, "int4": to_int4}
_ROUNDING = (RoundTokens, RoundSomeTokens, RoundTokensToPlanes, RoundSomeTokensToPlanes)
