"""Weights in 4 bits: ``com.microsoft::MatMulNBits``, in which blocks of 32 share a scale.

What ids are looked up in and what gives the logits is stored in 8 bits, as in *int8*: there
rounding costs most by far, and a tied table is one tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from beamgen.decoder.passes.int8 import to_int8
from beamgen.decoder.passes.products import (
    Lookup,
    Product,
    gives,
    hf_name,
    put,
    tape_at,
    weights_of,
)
from beamgen.quantization.record import Precision
from beamgen.quantization.rounding import BLOCK, int4_blocks
from beamgen.tape import Results, Tape, stored

#: Whose operators these are.
DOMAIN = "com.microsoft"

_ROUNDED_ACTIVATIONS = 4  # an accuracy_level


def to_int4(
    graph: ir.Graph, products: Sequence[Product], lookups: Sequence[Lookup], int8_weights: str
) -> Precision:
    """Let products of a graph read weights in 4 bits; lookups, and what gives logits, in 8."""
    tables = {lookup.table for lookup in lookups}
    tables |= {product.weight for product in products if gives(product, "logits")}
    wide = [product for product in products if product.weight in tables]
    names = tuple(dict.fromkeys(map(hf_name, weights_of(wide, lookups))))
    record = to_int8(graph, wide, lookups, int8_weights)
    blocks: dict[ir.Value, Results] = {}
    for product in products:
        if product.weight not in tables:
            tape = tape_at(product)
            if product.weight not in blocks:
                blocks[product.weight] = _stored(graph, product)
            put(tape, product, _multiplied(tape, product, blocks[product.weight]))
    return replace(
        record,
        name="int4",
        weights="uint4",
        zero_point=8,
        block_size=BLOCK,
        activations=f"int8, one scale for {BLOCK} of a token",
        accuracy_level=_ROUNDED_ACTIVATIONS,
        in_bytes=names,
        bytes_weights=record.weights if names else None,
    )


def _stored(graph: ir.Graph, product: Product) -> Results:
    """Packed ``[n, blocks, 16]`` and scales ``[n, blocks]`` of a weight, and whose they are."""
    packed, scales = int4_blocks(product.rows())
    name = product.weight.name
    return Results(
        packed=stored(graph, ir.tensor(packed, name=f"{name}.uint4")),
        scales=stored(graph, ir.tensor(scales, name=f"{name}.scales")),
    )


def _multiplied(tape: Tape, product: Product, weight: Results) -> ir.Value:
    scales = weight.scales
    if scales.dtype != ir.DataType.FLOAT:
        # of an initializer alone: ONNX Runtime computes it as it loads the file
        scales = tape.standard("Cast", scales, output="scales", to=ir.DataType.FLOAT)
    attributes = {
        "K": product.width,
        "N": product.channels,
        "bits": 4,
        "block_size": BLOCK,
        "accuracy_level": _ROUNDED_ACTIVATIONS,
    }
    inputs = [product.x, weight.packed, scales]
    (result,) = tape.node("MatMulNBits", inputs, ["product"], attributes, domain=DOMAIN)
    return result
