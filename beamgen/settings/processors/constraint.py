"""A search stays within a constraint, as under HF's ``prefix_allowed_tokens_fn``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beamgen.settings.automaton import FREE, PARTS, Table, joined
from beamgen.settings.constraint import Constraint
from beamgen.settings.kinds import Arrays, Ids, Kind
from beamgen.settings.parameter import Parameter, Problem
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import SampleIds, Setting, Values

#: Settings that may lead out of a constraint.
WAYS_OUT = ("forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values")


@dataclass(frozen=True)
class _ConstraintKind(Kind):
    """A ``Constraint`` or None; in the graph its automaton, and where each row begins in it."""

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        if value is not None and not isinstance(value, Constraint):
            cause = f"{name} must be a Constraint, not {value!r:.60}"
            yield cause, "make one with Constraint.choices, or pass --catalogue FILE"

    def token_ids(self, value: Any) -> Ids:
        """The largest one, which stands for all."""
        if not isinstance(value, Constraint):
            return ()
        return (max(int(value.automaton.edges[:, 0].max()), value.vocab_size - 1),)

    def parameters(self, name: str, meaning: str, per_row: bool) -> tuple[Parameter, ...]:
        """See ``Kind``."""
        return (
            Parameter(f"{name}_states", "int32", ("n", "3"), "row, first target, may end; or none"),
            Parameter(f"{name}_rows", "int32", ("n", "3"), "first edge, edges, all others' target"),
            Parameter(f"{name}_edges", "int32", ("n", "2"), "a token and its target; -1 is none"),
            Parameter(f"{name}_next", "int32", ("n",), "states that targets lead to"),
            Parameter(
                f"{name}_start", "int64", ("batch",), f"first state; {FREE}: none binds the row"
            ),
        )

    def arrays(self, name: str, value: Any) -> Arrays:
        """See ``Kind``."""
        return self.of_rows(name, [value])

    def of_rows(self, name: str, values: Sequence[Any]) -> Arrays:
        """See ``Kind``: the automata of all rows side by side, equal ones once."""
        different = list(dict.fromkeys(value for value in values if value is not None))
        if not different:
            width = {"states": (0, 3), "rows": (0, 3), "edges": (0, 2), "next": (0,)}
            arrays = {f"{name}_{part}": np.zeros(shape, np.int32) for part, shape in width.items()}
            return {**arrays, f"{name}_start": np.zeros(1, np.int64)}
        whole, firsts = joined(value.automaton for value in different)
        begins = dict(zip(different, firsts, strict=True))
        starts = [FREE if value is None else begins[value] for value in values]
        if len(set(starts)) == 1:
            starts = starts[:1]
        return {
            **{f"{name}_{part}": getattr(whole, part) for part in PARTS},
            f"{name}_start": np.array(starts, np.int64),
        }


def _conflicts(values: Values) -> Iterator[Problem]:
    constraint = values["constraint"]
    if not isinstance(constraint, Constraint):
        return
    if not values["eos_token_id"]:
        yield "a constraint's texts end with an EOS, and there is none", "set eos_token_id"
    inside = [token for token in values["eos_token_id"] if constraint.names(token)]
    if inside:
        cause = f"the constraint holds the EOS id {inside[0]}"
        yield cause, "make it without EOS ids; the search adds one"
    for name in WAYS_OUT:
        if values[name] not in (None, (), False):
            yield f"{name} may lead out of the constraint", f"use a constraint without {name}"


def _sample(ids: SampleIds) -> Constraint:
    """A trie of a few tokens, or states that take nearly all, which lead round and round."""
    few = ids.ordinary[:30]
    lengths = ids.rng.integers(1, 6, size=200)
    if ids.rng.random() < 0.5:
        return Constraint.choices(
            ids.rng.choice(few, size=int(length)).tolist() for length in lengths
        )
    return _round_and_round(ids)


def _round_and_round(ids: SampleIds) -> Constraint:
    """Three states that take nearly every token, or half of them; a text may end in the last."""
    table = Table(3)
    for state, taken in enumerate((0.9, 0.5, 0.95)):
        targets = np.full(ids.vocab_size, -1)
        some = ids.ordinary[ids.rng.random(len(ids.ordinary)) < taken]
        targets[some] = np.where(ids.rng.random(len(some)) < 0.8, 2, (state + 1) % 3)
        table.add_dense(targets, marked=state == 2)
    return Constraint(table.finished(), "three states", ids.vocab_size)


SETTING = Setting(
    "constraint",
    _ConstraintKind(),
    "automaton of what may be written",
    in_hf=False,
    per_row=True,
    conflicts=_conflicts,
    sample=_sample,
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import FLOAT, script
    from onnxscript import opset23 as op

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def within_constraint(
        scores, node, constraint_states, constraint_rows, constraint_edges, eos_token_id
    ):
        """-inf on tokens that leave the constraint; scores ``[B, n, V]``, node ``[B, K]``.

        Source: ``PrefixConstrainedLogitsProcessor``.
        """
        if op.Squeeze(op.Shape(constraint_states, end=1)) > 0:
            here = op.Slice(node, [0], op.Shape(scores, start=1, end=2), [1])  # [B, n]
            tokens, targets, exists, rest, _first, may_end = beamgen_ops.edges_of(
                here, constraint_states, constraint_rows, constraint_edges
            )
            free = op.Unsqueeze(op.Equal(here, -2), [2])  # [B, n, 1]
            others_may = op.Or(rest >= 0, free)
            differs = op.And(exists, op.Xor(targets >= 0, others_may))  # [B, n, m]
            nowhere = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
            marks = op.ScatterElements(
                nowhere, tokens, op.Cast(differs, to=FLOAT.dtype), axis=2, reduction="max"
            )
            may_come = op.Xor(marks > 0.0, others_may)  # [B, n, V]
            forbidden = op.Constant(value_float=float("-inf"))
            mask = op.Where(may_come, 0.0, forbidden)
            eos_shape = op.Concat(op.Shape(here), op.Shape(eos_token_id), axis=0)
            eos = op.Expand(op.Reshape(eos_token_id, [1, 1, -1]), eos_shape)
            end = op.Expand(op.Where(op.Or(may_end, free), 0.0, forbidden), eos_shape)
            processed = scores + op.ScatterElements(mask, eos, end, axis=2)
        else:
            processed = op.Identity(scores)
        return processed

    return (within_constraint,)


PROCESSOR = Processor((SETTING,), functions)
