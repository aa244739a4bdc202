"""Where beams stand in an automaton over tokens, which is data of a call.

The arrays are those of ``beamgen.settings.automaton``, int32: ``states [Q, 3]`` (row, first
target, mark), ``rows [R, 3]`` (first edge, number of edges, target of all other tokens),
``edges [E, 2]`` (token, target) and ``next [N]``. Targets are counted from a state's first one,
-1 is none. A step reads the rows in which beams stand, and nothing else of them. State -1 is
outside, where nothing may come, -2 is of a row of the batch that has no automaton. With no
states at all nothing is read.

A constraint's automaton is asked what may come, by its processor in ``settings.processors``;
that of stop strings what has come.
"""

from __future__ import annotations

from onnxscript import BOOL, INT64, script
from onnxscript import opset23 as op

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def edges_of(node, states, rows, edges):
    """What is listed of states ``[B, K]``.

    Returns: tokens, targets and whether each is there, ``[B, K, m]``; the target of all other
    tokens and the first target ``[B, K, 1]``; whether the state is marked ``[B, K, 1]``.
    """
    state = op.Cast(op.Gather(states, op.Max(node, 0)), to=INT64.dtype)  # [B, K, 3]
    row, first, marked = op.Split(state, axis=2, num_outputs=3)
    listed = op.Cast(op.Gather(rows, op.Squeeze(row, [2])), to=INT64.dtype)  # [B, K, 3]
    begin, count, others = op.Split(listed, axis=2, num_outputs=3)
    outside = op.Unsqueeze(node < 0, [2])
    present = op.Where(outside, 0, count)  # [B, K, 1]
    edge = op.Range(0, op.Max(op.ReduceMax(present, keepdims=0), 1), 1)  # [m], never empty
    exists = present > edge
    index = op.Where(exists, begin + edge, 0)
    pairs = op.Cast(op.Gather(edges, index), to=INT64.dtype)  # [B, K, m, 2]
    tokens = op.Gather(pairs, op.Constant(value_int=0), axis=3)
    targets = op.Gather(pairs, op.Constant(value_int=1), axis=3)
    rest = op.Where(outside, -1, others)
    is_marked = op.And(marked > 0, op.Not(outside))
    return tokens, targets, exists, rest, first, is_marked


@script(beamgen_ops, default_opset=op)
def reached(node, tokens, states, rows, edges, following):
    """Where tokens ``[B, n]`` lead from states ``[B, n]``."""
    listed, targets, exists, rest, first, _marked = beamgen_ops.edges_of(node, states, rows, edges)
    same = op.And(op.Equal(listed, op.Unsqueeze(tokens, [2])), exists)  # [B, n, m]
    # a token is listed once or not at all: the largest of -2s and its target
    own = op.ReduceMax(op.Where(same, targets, -2), [2])  # [B, n, 1]
    target = op.Squeeze(op.Where(own < -1, rest, own), [2])
    target_state = op.Gather(following, op.Max(op.Squeeze(first, [2]) + target, 0))
    after = op.Where(target < 0, -1, op.Cast(target_state, to=INT64.dtype))
    return op.Where(node < 0, node, after)


@script(beamgen_ops, default_opset=op)
def next_nodes(
    node,
    parents,
    tokens,
    constraint_states,
    constraint_rows,
    constraint_edges,
    constraint_next,
):
    """Where the running beams stand after a token; all ``[B, K]``."""
    before = op.GatherElements(node, parents, axis=1)
    if op.Squeeze(op.Shape(constraint_states, end=1)) > 0:
        after = beamgen_ops.reached(
            before,
            tokens,
            constraint_states,
            constraint_rows,
            constraint_edges,
            constraint_next,
        )
    else:
        after = op.Identity(before)
    return after


@script(beamgen_ops, default_opset=op)
def first_nodes(constraint_start, like):
    """Where all beams begin: start ``[1]`` or ``[B]`` in the shape of like ``[B, K]``."""
    return op.Expand(op.Reshape(constraint_start, [-1, 1]), op.Shape(like))


@script(beamgen_ops, default_opset=op)
def stops_before(input_ids, like, stop_states, stop_rows, stop_edges, stop_next):
    """Where the prompts ``[B, S]`` lead in the automaton of stop strings, as like ``[B, K]``.

    As in HF a stop string may begin in the prompt, whose padding is text like any other.
    """
    root = op.Expand(op.Constant(value_int=0), op.Shape(like))  # [B, K]
    if op.Squeeze(op.Shape(stop_states, end=1)) > 0:
        node = op.Slice(root, [0], [1], [1])  # [B, 1]
        for place in range(op.Squeeze(op.Shape(input_ids, start=1))):
            token = op.Gather(input_ids, op.Unsqueeze(place, [0]), axis=1)  # [B, 1]
            node = beamgen_ops.reached(node, token, stop_states, stop_rows, stop_edges, stop_next)
        begun = op.Expand(node, op.Shape(like))
    else:
        begun = op.Identity(root)
    return begun


@script(beamgen_ops, default_opset=op)
def stops_after(stop_node, beams, tokens, stop_states, stop_rows, stop_edges, stop_next):
    """Where continuations ``[B, M]`` of beams stand in the automaton of stop strings."""
    before = op.GatherElements(stop_node, beams, axis=1)  # [B, M]
    if op.Squeeze(op.Shape(stop_states, end=1)) > 0:
        after = beamgen_ops.reached(before, tokens, stop_states, stop_rows, stop_edges, stop_next)
    else:
        after = op.Identity(before)
    return after


@script(beamgen_ops, default_opset=op)
def stop_has_come(node, stop_states):
    """In which states ``[B, M]`` a stop string has just come."""
    if op.Squeeze(op.Shape(stop_states, end=1)) > 0:
        state = op.Gather(stop_states, node)  # [B, M, 3]
        mark = op.Gather(state, op.Constant(value_int=2), axis=2)
        stopped = op.Cast(mark, to=BOOL.dtype)
    else:
        stopped = op.Cast(node, to=BOOL.dtype)  # of 0 everywhere
    return stopped


@script(beamgen_ops, default_opset=op)
def stop_reasons(
    finish_reasons, begun, tokens, lengths, stop_states, stop_rows, stop_edges, stop_next
):
    """3 in place of 2, the length, where a stop string ended a hypothesis ``[B, R]``.

    begun ``[B, K]``: where the prompts stand in the automaton; tokens ``[B, R, T]``; lengths
    ``[B, R]``.
    """
    if op.Squeeze(op.Shape(stop_states, end=1)) > 0:
        node = op.Expand(op.Slice(begun, [0], [1], [1]), op.Shape(finish_reasons))  # [B, R]
        for place in range(op.Squeeze(op.Shape(tokens, start=2))):
            token = op.Gather(tokens, place, axis=2)  # [B, R]
            after = beamgen_ops.reached(node, token, stop_states, stop_rows, stop_edges, stop_next)
            node = op.Where(lengths > place, after, node)
        ended = op.And(beamgen_ops.stop_has_come(node, stop_states), op.Equal(finish_reasons, 2))
        reasons = op.Where(ended, 3, finish_reasons)
    else:
        reasons = op.Identity(finish_reasons)
    return reasons
