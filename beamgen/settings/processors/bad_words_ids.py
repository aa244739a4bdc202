"""Sequences that may not come, HF's ``bad_words_ids``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from beamgen.errors import SettingError
from beamgen.settings.kinds import Arrays, Ids, Kind, as_ids, id_problems
from beamgen.settings.parameter import Problem
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.processors.sequences import check_list, empty_problems, right_aligned
from beamgen.settings.setting import HISTORY, SampleIds, Setting


@dataclass(frozen=True)
class _Sequences(Kind):
    """Sequences of token ids."""

    axes: ClassVar[tuple[str, ...]] = ("n", "longest")

    def canonical(self, value: Any) -> Any:
        """See ``Kind``."""
        sequences = tuple(check_list("bad_words_ids", value))
        if not all(isinstance(sequence, Iterable) for sequence in sequences):
            raise SettingError(
                f"bad_words_ids must be a list of lists of ids, not {value!r:.80}",
                "[[5, 9]] is one sequence, [[5], [9]] are two tokens",
            )
        return tuple(as_ids(sequence) for sequence in sequences)

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        yield from id_problems(name, self.token_ids(value))
        yield from empty_problems(name, value)

    def token_ids(self, value: Any) -> Ids:
        """See ``Kind``."""
        return tuple(token for ids in value for token in ids)

    def arrays(self, name: str, value: Any) -> Arrays:
        """See ``Kind``."""
        return {name: right_aligned(value)}

    def to_hf(self, value: Any) -> list[list[int]]:
        """See ``Kind``."""
        return [list(ids) for ids in value]


def _sample(ids: SampleIds) -> Any:
    a, b, c = ids.some
    return [[c], [ids.last, a], [a, b], [ids.eos[0]]]


SETTING = Setting(
    "bad_words_ids",
    _Sequences(),
    "banned, right-aligned, filled with -1",
    default=(),
    bans=True,
    sample=_sample,
    reads=(HISTORY,),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import INT64, script
    from onnxscript import opset23 as op

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def bad_words_ids(scores, history, bad_words_ids, eos_token_id):
        """-inf on tokens that complete one of ``bad_words_ids [m, L]``.

        A bad word that is one EOS alone is passed over.

        Source: ``NoBadWordsLogitsProcessor``.
        """
        if beamgen_ops.anywhere(bad_words_ids >= 0):
            tokens = beamgen_ops.last_of_sequences(bad_words_ids)  # [1, 1, m]
            alone = op.ReduceSum(op.Cast(bad_words_ids >= 0, to=INT64.dtype), [1], keepdims=0) == 1
            is_eos = op.Equal(op.Unsqueeze(tokens, [3]), op.Reshape(eos_token_id, [1, 1, 1, -1]))
            eos = op.ReduceSum(op.Cast(is_eos, to=INT64.dtype), [3], keepdims=0) > 0  # [1, 1, m]
            completes = beamgen_ops.ends_with(history, bad_words_ids)
            banned = op.And(completes, op.Not(op.And(eos, op.Unsqueeze(alone, [0, 1]))))
            addends = op.Where(banned, op.Constant(value_float=float("-inf")), 0.0)
            processed = beamgen_ops.add_to_tokens(scores, tokens, addends)
        else:
            processed = op.Identity(scores)
        return processed

    return (bad_words_ids,)


PROCESSOR = Processor((SETTING,), functions)
