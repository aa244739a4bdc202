"""Tokens that complete a sequence are made more or less likely, HF's ``sequence_bias``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from beamgen.errors import SettingError
from beamgen.settings.kinds import Arrays, Ids, Kind, as_ids, id_problems, is_finite
from beamgen.settings.parameter import Parameter, Problem
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.processors.sequences import check_list, empty_problems, right_aligned
from beamgen.settings.setting import HISTORY, SampleIds, Setting


@dataclass(frozen=True)
class _Biases(Kind):
    """Pairs of a sequence of ids and a number."""

    def canonical(self, value: Any) -> Any:
        """HF's two forms, ``{(5, 9): 1.0}`` and ``[[[5, 9], 1.0]]``; a sequence counts once."""
        if isinstance(value, Mapping):
            pairs: Iterable[Any] = value.items()
        else:
            pairs = check_list("sequence_bias", value)
        try:
            return tuple({as_ids(ids): bias for ids, bias in pairs}.items())
        except (TypeError, ValueError):
            raise SettingError(
                f"sequence_bias must be pairs of ids and a number, not {value!r:.80}",
                "for example [[[5, 9], -2.0]]",
            ) from None

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        yield from id_problems(name, self.token_ids(value))
        yield from empty_problems(name, [ids for ids, _ in value])
        for _, bias in value:
            if not is_finite(bias):
                cause = f"{name} must be finite numbers, not {bias!r}"
                yield cause, "bad_words_ids bans sequences altogether"

    def token_ids(self, value: Any) -> Ids:
        """See ``Kind``."""
        return tuple(token for ids, _ in value for token in ids)

    def parameters(self, name: str, meaning: str, per_row: bool) -> tuple[Parameter, ...]:
        """See ``Kind``."""
        aligned = "biased sequences, right-aligned, filled with -1"
        return (
            Parameter(f"{name}_ids", "int64", ("n", "longest"), aligned),
            Parameter(name, "float32", ("n",), meaning),
        )

    def arrays(self, name: str, value: Any) -> Arrays:
        """See ``Kind``."""
        return {
            f"{name}_ids": right_aligned([ids for ids, _ in value]),
            name: np.asarray([bias for _, bias in value], np.float32),
        }

    def to_hf(self, value: Any) -> dict[Ids, float]:
        """See ``Kind``."""
        return {ids: float(bias) for ids, bias in value}


def _sample(ids: SampleIds) -> Any:
    a, b, c = ids.some
    return [[[a], 2.5], [[ids.last, b], 6.0], [[a, b, c], -4.0], [[b], -1.0]]


SETTING = Setting(
    "sequence_bias",
    _Biases(),
    "added where a token completes each of them",
    default=(),
    sample=_sample,
    reads=(HISTORY,),
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def sequence_bias(scores, history, sequence_bias_ids, sequence_bias):
        """Add ``sequence_bias [m]`` to tokens that complete ``sequence_bias_ids [m, L]``.

        Source: ``SequenceBiasLogitsProcessor``.
        """
        if beamgen_ops.anywhere(sequence_bias_ids >= 0):
            completes = beamgen_ops.ends_with(history, sequence_bias_ids)  # [B, n, m]
            tokens = beamgen_ops.last_of_sequences(sequence_bias_ids)
            bias = op.Where(completes, op.Unsqueeze(sequence_bias, [0, 1]), 0.0)
            processed = beamgen_ops.add_to_tokens(scores, tokens, bias)
        else:
            processed = op.Identity(scores)
        return processed

    return (sequence_bias,)


PROCESSOR = Processor((SETTING,), functions)
