"""With several EOS ids a text within a constraint still ends in one way only."""

from __future__ import annotations

from beamgen.settings.processors.processor import Functions, Processor


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def one_end(scores, node, constraint_states, eos_token_id, one_beam):
        """-inf on every EOS id but the likeliest, for beams within a constraint ``[B, n, V]``.

        Else one text would be found once for each EOS id, and keep others out. One beam
        draws a text's end among all EOS ids, as without a constraint.

        Source: none; HF's ``prefix_allowed_tokens_fn`` sees no scores. Parity gives HF the
        same as a ``logits_processor``, which stands in this place.
        """
        within = op.And(op.Shape(constraint_states, end=1) > 0, op.Shape(eos_token_id) > 1)
        if op.Squeeze(op.And(within, op.Not(one_beam))):
            ends = op.Gather(scores, eos_token_id, axis=2)  # [B, n, E]
            ids_shape = op.Shape(ends)
            ids = op.Expand(op.Reshape(eos_token_id, [1, 1, -1]), ids_shape)
            likeliest = op.GatherElements(ids, op.ArgMax(ends, axis=2), axis=2)  # [B, n, 1]
            forbidden = op.Expand(op.Constant(value_float=float("-inf")), ids_shape)
            without = op.ScatterElements(scores, ids, forbidden, axis=2)
            best = op.ReduceMax(ends, [2])  # [B, n, 1]
            one_left = op.ScatterElements(without, likeliest, best, axis=2)
            here = op.Slice(node, [0], op.Shape(scores, start=1, end=2), [1])  # [B, n]
            free = op.Unsqueeze(op.Equal(here, -2), [2])
            processed = op.Where(free, scores, one_left)
        else:
            processed = op.Identity(scores)
        return processed

    return (one_end,)


#: Driven by the settings ``constraint`` and ``eos_token_id``.
PROCESSOR = Processor((), functions)
