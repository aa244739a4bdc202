"""Every function that a loop file holds, as ONNX has them."""

from __future__ import annotations

from typing import Any

import onnx
from onnxscript import OnnxFunction

from beamgen.onnx_domain import DOMAIN
from beamgen.search import (
    beam_search,
    catalogue,
    one_beam,
    processors,
    random_numbers,
    tree_cache,
    warpers,
)

_MODULES = (beam_search, one_beam, random_numbers, processors, warpers, catalogue, tree_cache)


def function_protos() -> list[onnx.FunctionProto]:
    """All of them, in no order: ONNX looks them up by name."""
    return [
        _proto(value)
        for module in _MODULES
        for value in vars(module).values()
        if isinstance(value, OnnxFunction)
    ]


def _proto(function: OnnxFunction[Any, Any]) -> onnx.FunctionProto:
    proto = function.to_function_proto()
    # onnxscript does not see calls that stand in the branches of an If only
    if DOMAIN not in {opset.domain for opset in proto.opset_import}:
        proto.opset_import.add(domain=DOMAIN, version=1)
    return proto
