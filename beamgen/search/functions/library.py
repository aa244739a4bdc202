"""The functions that a file holds, as ONNX has them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import onnx_ir as ir
from onnxscript import OnnxFunction

from beamgen.onnx_domain import DOMAIN
from beamgen.search.functions import (
    beam_search,
    constraint,
    later_rules,
    one_beam,
    processors,
    random_numbers,
    tree_cache,
    warpers,
)
from beamgen.settings.rules import Rules
from beamgen.settings.table import PROCESSORS

# Of the loop backend, besides the processors.
_LOOP_MODULES = (beam_search, one_beam, random_numbers, processors, warpers, constraint, tree_cache)


def loop_functions(rules: Rules) -> list[ir.Function]:
    """All that the loop backend calls under some rules, the processors among it."""
    compiled = [f for processor in PROCESSORS for f in processor.compiled]
    single = [*compiled, *_later(rules)]
    return [*functions(*_LOOP_MODULES), *(_without_casts(_read(f)) for f in single)]


def _later(rules: Rules) -> list[OnnxFunction[Any, Any]]:
    """What the rules ask for besides."""
    asked = (
        (rules.bias_reaches_back, later_rules.one_id_before),
        (rules.penalty_spares_padding, later_rules.without_padding),
        (rules.constraint_wins, later_rules.into_constraint),
        (rules.draws_are_sorted, later_rules.best_first),
    )
    return [function for holds, function in asked if holds]


def functions(*modules: ModuleType) -> list[ir.Function]:
    """All functions of some modules, in no order: ONNX looks them up by name."""
    return [
        _without_casts(_read(value))
        for module in modules
        for value in vars(module).values()
        if isinstance(value, OnnxFunction)
    ]


def _read(function: OnnxFunction[Any, Any]) -> ir.Function:
    proto = function.to_function_proto()
    # onnxscript does not see calls that stand in the branches of an If only
    if DOMAIN not in {opset.domain for opset in proto.opset_import}:
        proto.opset_import.add(domain=DOMAIN, version=1)
    return ir.serde.deserialize_function(proto)


def _without_casts(function: ir.Function) -> ir.Function:
    """Drop the casts that onnxscript adds.

    It casts every literal like the operand beside it, of which it knows no type.
    Here a literal has its operand's type, or an explicit Cast; if not, ONNX
    Runtime refuses the file. They were a ninth of the nodes that it has to load.
    """
    for node in list(ir.traversal.RecursiveGraphIterator(function.graph)):
        literal = node.inputs[0] if node.op_type == "CastLike" else None
        producer = literal.producer() if literal is not None else None
        if literal is None or producer is None or producer.op_type != "Constant":
            continue
        node.outputs[0].replace_all_uses_with(literal)
        if node.graph is not None:
            node.graph.remove(node)
    return function
