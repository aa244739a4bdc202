"""Where beams stand in a catalogue: a trie of token sequences as graph inputs.

The trie is in compressed sparse row form. The edges of node i are those from
``catalogue_offsets[i]`` up to ``catalogue_offsets[i + 1]``; edge e consumes the
token ``catalogue_tokens[e]`` and leads to node ``catalogue_next[e]``. The root is
node 0. An edge with token -1 says that an entry ends at its node: there an EOS may
come. Node -1 is outside the catalogue, where nothing may.

Built by ``beamgen.settings.catalogue``; its processor stands in ``settings.processors``.
"""

from __future__ import annotations

from onnxscript import opset23 as op
from onnxscript import script

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def edges_of(node, catalogue_offsets):
    """The edges of nodes ``[B, K]``: their indices and which are there, ``[B, K, m]``."""
    inside = op.Max(node, 0)
    first = op.Gather(catalogue_offsets, inside)
    count = op.Gather(catalogue_offsets, inside + 1) - first
    present = op.Where(node < 0, 0, count)  # [B, K]
    edge = op.Range(0, op.Max(op.ReduceMax(present, keepdims=0), 1), 1)  # [m], never empty
    exists = op.Unsqueeze(present, [2]) > edge
    return op.Where(exists, op.Unsqueeze(first, [2]) + edge, 0), exists


@script(beamgen_ops, default_opset=op)
def next_nodes(node, parents, tokens, catalogue_offsets, catalogue_tokens, catalogue_next):
    """Where the running beams stand after a token; all ``[B, K]``."""
    before = op.GatherElements(node, parents, axis=1)
    if op.Squeeze(op.Shape(catalogue_tokens)) > 0:
        edges, exists = beamgen_ops.edges_of(before, catalogue_offsets)
        same = op.Equal(op.Gather(catalogue_tokens, edges), op.Unsqueeze(tokens, [2]))
        reached = op.Gather(catalogue_next, edges)
        # a token leads to one node, or to none: the largest of -1s and that one
        after = op.ReduceMax(op.Where(op.And(same, exists), reached, -1), [2], keepdims=0)
    else:
        after = op.Identity(before)
    return after
