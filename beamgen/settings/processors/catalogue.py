"""A search stays among the entries of a catalogue, as under HF's ``prefix_allowed_tokens_fn``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from beamgen.settings.catalogue import Catalogue
from beamgen.settings.kinds import Arrays, Ids, Kind
from beamgen.settings.parameter import Parameter, Problem
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import SampleIds, Setting, Values

#: Settings that may lead out of a catalogue.
WAYS_OUT = ("forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values")


@dataclass(frozen=True)
class _CatalogueKind(Kind):
    """A ``Catalogue`` or None; in the graph its trie in compressed sparse row form."""

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        if value is not None and not isinstance(value, Catalogue):
            cause = f"{name} must be a Catalogue, not {value!r:.60}"
            yield cause, "make one with Catalogue.of, or pass --catalogue FILE"

    def token_ids(self, value: Any) -> Ids:
        """The largest one, which stands for all."""
        return (int(value.tokens.max()),) if isinstance(value, Catalogue) else ()

    def parameters(self, name: str, meaning: str, per_row: bool) -> tuple[Parameter, ...]:
        """See ``Kind``."""
        return tuple(
            Parameter(f"{name}_{part}", "int64", ("n",), what)
            for part, what in (
                ("offsets", "first edge of each node of the catalogue's trie"),
                ("tokens", "token of each edge, -1: an entry ends; or none"),
                ("next", "node that each edge leads to"),
            )
        )

    def arrays(self, name: str, value: Any) -> Arrays:
        """See ``Kind``."""
        nothing = np.zeros(0, np.int64)
        parts = ("offsets", "tokens", "next")
        return {
            f"{name}_{part}": nothing if value is None else getattr(value, part) for part in parts
        }


def _conflicts(values: Values) -> Iterator[Problem]:
    catalogue = values["catalogue"]
    if not isinstance(catalogue, Catalogue):
        return
    if not values["eos_token_id"]:
        yield "a catalogue entry ends with an EOS, and there is none", "set eos_token_id"
    inside = [token for token in values["eos_token_id"] if (catalogue.tokens == token).any()]
    if inside:
        cause = f"the catalogue holds the EOS id {inside[0]}"
        yield cause, "give entries without EOS ids; the search adds one"
    for name in WAYS_OUT:
        if values[name] not in (None, (), False):
            yield f"{name} may lead out of the catalogue", f"use a catalogue without {name}"


def _sample(ids: SampleIds) -> Catalogue:
    few = ids.ordinary[:30]
    lengths = ids.rng.integers(1, 6, size=200)
    return Catalogue.of(ids.rng.choice(few, size=int(length)).tolist() for length in lengths)


SETTING = Setting(
    "catalogue",
    _CatalogueKind(),
    "token sequences to stay among",
    in_hf=False,
    conflicts=_conflicts,
    sample=_sample,
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import INT64, script
    from onnxscript import opset23 as op

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def within_catalogue(scores, node, catalogue_offsets, catalogue_tokens, eos_token_id):
        """-inf on tokens that leave the catalogue; scores ``[B, n, V]``, node ``[B, K]``.

        Source: ``PrefixConstrainedLogitsProcessor``.
        """
        if op.Squeeze(op.Shape(catalogue_tokens)) > 0:
            here = op.Slice(node, [0], op.Shape(scores, start=1, end=2), [1])  # [B, n]
            edges, exists = beamgen_ops.edges_of(here, catalogue_offsets)
            tokens = op.Gather(catalogue_tokens, edges)  # [B, n, m]
            forbidden = op.Constant(value_float=float("-inf"))
            consumed = op.And(exists, tokens >= 0)
            ends = op.And(exists, tokens < 0)
            may_end = op.ReduceMax(op.Cast(ends, to=INT64.dtype), [2]) > 0  # [B, n, 1]
            eos_shape = op.Concat(op.Shape(here), op.Shape(eos_token_id), axis=0)
            eos = op.Expand(op.Reshape(eos_token_id, [1, 1, -1]), eos_shape)
            allowed = op.Concat(
                op.Where(consumed, 0.0, forbidden),
                op.Expand(op.Where(may_end, 0.0, forbidden), eos_shape),
                axis=2,
            )
            index = op.Concat(op.Max(tokens, 0), eos, axis=2)
            nothing = op.Expand(forbidden, op.Shape(scores))
            mask = op.ScatterElements(nothing, index, allowed, axis=2, reduction="max")
            processed = scores + mask
        else:
            processed = op.Identity(scores)
        return processed

    return (within_catalogue,)


PROCESSOR = Processor((SETTING,), functions)
