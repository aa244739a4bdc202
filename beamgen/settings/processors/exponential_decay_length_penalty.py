"""EOS becomes likelier from some length on, HF's ``exponential_decay_length_penalty``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from beamgen.settings.kinds import Kind, is_finite, is_int
from beamgen.settings.parameter import Problem
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import Setting


@dataclass(frozen=True)
class _Decay(Kind):
    """A pair of start and factor, or None."""

    dtype: ClassVar[str] = "float32"
    axes: ClassVar[tuple[str, ...]] = ("n",)

    def canonical(self, value: Any) -> Any:
        """See ``Kind``."""
        return tuple(value) if isinstance(value, list) else value

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        if value is not None and not _is_decay(value):
            cause = f"{name} must be (start, factor), not {value!r}"
            yield cause, "for example (20, 1.05): from token 20 on, by 1.05 a token"


def _is_decay(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    return is_int(value[0]) and is_finite(value[1]) and min(value) > 0


SETTING = Setting(
    "exponential_decay_length_penalty",
    _Decay(),
    "start and factor of rising EOS scores, or none",
    examples=(None, (5, 1.2)),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import DOUBLE, FLOAT, script
    from onnxscript import opset23 as op

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def exponential_decay_length_penalty(
        scores, generated_len, exponential_decay_length_penalty, eos_token_id
    ):
        """After ``start`` tokens, EOS scores rise by ``abs(score) * (factor ** further - 1)``.

        exponential_decay_length_penalty ``[2]`` holds start and factor. An EOS that
        may not come stays so: HF has inf - inf there, which is not a number.

        Source: ``ExponentialDecayLengthPenalty``.
        """
        zero, one, two = (
            op.Constant(value_ints=[0]),
            op.Constant(value_ints=[1]),
            op.Constant(value_ints=[2]),
        )
        # start and factor where they are given, and else a start that is never reached
        never = op.Constant(value_floats=[3.0e38, 1.0])
        given = op.Concat(exponential_decay_length_penalty, never, axis=0)
        further = op.Cast(generated_len, to=FLOAT.dtype) - op.Slice(given, zero, one)  # [1]
        if op.Squeeze(further) > 0.0:
            factor = op.Cast(op.Slice(given, one, two), to=DOUBLE.dtype)
            rise = op.Pow(factor, op.Cast(further, to=DOUBLE.dtype))
            rise = rise - op.Cast(1.0, to=DOUBLE.dtype)
            shape = op.Concat(op.Shape(scores, end=2), op.Shape(eos_token_id), axis=0)
            index = op.Expand(op.Reshape(eos_token_id, [1, 1, -1]), shape)
            score = op.GatherElements(scores, index, axis=2)  # [B, n, E]
            raised = score + op.Abs(score) * op.Cast(rise, to=FLOAT.dtype)
            processed = op.ScatterElements(
                scores, index, op.Where(op.IsInf(score), score, raised), axis=2
            )
        else:
            processed = op.Identity(scores)
        return processed

    return (exponential_decay_length_penalty,)


PROCESSOR = Processor((SETTING,), functions)
