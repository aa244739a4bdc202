"""The prompt of a decoder behind an encoder: HF's ``decoder_input_ids``."""

from __future__ import annotations

from onnxscript import opset23 as op
from onnxscript import script

from beamgen.onnx_domain import beamgen_ops


@script(beamgen_ops, default_opset=op)
def decoder_prompt(decoder_input_ids, source):
    """What the decoder starts with, for every row of a source ``[B, ...]``.

    decoder_input_ids ``[1 or B, S]``.

    Returns: prompt_ids ``[B, S]``, prompt_mask ``[B, S]`` of ones: none of it is padding.
    """
    one = op.Constant(value_ints=[1])
    prompt_ids = op.Expand(decoder_input_ids, op.Concat(op.Shape(source, end=1), one, axis=0))
    prompt_mask = op.Expand(op.Constant(value_int=1), op.Shape(prompt_ids))
    return prompt_ids, prompt_mask
