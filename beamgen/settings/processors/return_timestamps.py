"""Tokens of times come in pairs around what is said, HF's ``WhisperTimeStampLogitsProcessor``.

They are the last ids of a vocabulary, behind ``no_timestamps_token_id``.
"""

from __future__ import annotations

from collections.abc import Iterator

from beamgen.settings.kinds import Flag, OptionalCount, OptionalTokenId
from beamgen.settings.parameter import Problem
from beamgen.settings.processors.processor import Functions, Processor
from beamgen.settings.setting import HISTORY, TIMES, Setting, Values


def _conflicts(values: Values) -> Iterator[Problem]:
    if not values["return_timestamps"]:
        return
    if values["no_timestamps_token_id"] is None:
        cause = "return_timestamps asks for tokens of times, which follow no_timestamps_token_id, "
        cause += "and there is none"
        yield cause, "leave out return_timestamps, or name that token in generation_config.json"
    if len(values["eos_token_id"]) != 1:
        cause = (
            f"return_timestamps goes with one eos_token_id, not with {len(values['eos_token_id'])}"
        )
        yield cause, "give one, as transformers takes one there"
    if values["constraint"] is not None:
        cause = "return_timestamps asks for tokens of times, and no constraint has them"
        yield cause, "leave one of the two out"


RETURN_TIMESTAMPS = Setting(
    "return_timestamps",
    Flag(),
    "tokens of times around what is said, of models that hear",
    default=False,
    in_hf=False,
    option=True,
    examples=(False, True),
    asks=TIMES,
    reads=(HISTORY,),
    conflicts=_conflicts,
)
NO_TIMESTAMPS_TOKEN_ID = Setting(
    "no_timestamps_token_id",
    OptionalTokenId(),
    "the id before those of times, or none",
    in_hf=False,
    asks=TIMES,
)
MAX_INITIAL_TIMESTAMP_INDEX = Setting(
    "max_initial_timestamp_index",
    OptionalCount(0),
    "the latest time to begin at, counted from the first, or none",
    in_hf=False,
    asks=TIMES,
)


def functions() -> Functions:
    """The processor as an ONNX function."""
    from onnxscript import opset23 as op
    from onnxscript import script

    from beamgen.onnx_domain import beamgen_ops

    @script(beamgen_ops, default_opset=op)
    def return_timestamps(
        scores,
        history,
        generated_len,
        return_timestamps,
        no_timestamps_token_id,
        max_initial_timestamp_index,
        eos_token_id,
    ):
        """-inf on what breaks the order of times, or is less likely than all times together.

        scores ``[B, n, V]``, history ``[B, n, S + t]``, of which t ``[1]`` are generated.

        Source: ``WhisperTimeStampLogitsProcessor``.
        """
        if op.Squeeze(return_timestamps) > 0:
            forbidden = op.Constant(value_float=float("-inf"))
            size = op.Shape(scores, start=2)
            vocabulary = op.Range(0, op.Squeeze(size), 1)  # [V]
            before = op.ReduceMax(no_timestamps_token_id, keepdims=0)
            is_time = vocabulary > before  # [V]
            rows = op.Shape(scores, end=2)
            # of what is generated, with two that are no times before it
            none = op.Expand(op.Constant(value_int=-1), op.Concat(rows, [2], axis=0))
            start = op.Shape(history, start=2) - generated_len
            generated = op.Slice(history, start, [9223372036854775807], [2])
            padded = op.Concat(none, generated, axis=2)  # [B, n, 2 + t]
            timed = padded > before
            last = op.Slice(timed, [-1], [9223372036854775807], [2])  # [B, n, 1]
            earlier = op.Slice(timed, [-2], [-1], [2])
            follows = op.Or(earlier, generated_len < 2)
            places = op.Range(0, op.Squeeze(op.Shape(padded, start=2)), 1)
            latest_place = op.ReduceMax(op.Where(timed, places, 0), [2])  # [B, n, 1]
            latest = op.GatherElements(padded, latest_place, axis=2)
            open_pair = op.And(last, op.Not(follows))
            least = op.Where(open_pair, latest, latest + 1)
            is_text = vocabulary < op.ReduceMax(eos_token_id, keepdims=0)  # [V]
            banned = op.Or(
                op.Or(op.Equal(vocabulary, before), op.And(op.And(last, follows), is_time)),
                op.Or(
                    op.And(open_pair, is_text),
                    op.And(op.And(is_time, vocabulary < least), latest > before),
                ),
            )  # [B, n, V]
            is_first = op.Equal(generated_len, 0)
            # one further than the latest time, where there is none such
            reach = op.ReduceMax(op.Concat(max_initial_timestamp_index, [-1], axis=0), keepdims=0)
            limit = op.Where(reach < 0, op.Squeeze(size), before + 1 + reach)
            outside = op.Or(op.Not(is_time), vocabulary > limit)
            processed = op.Where(op.Or(banned, op.And(is_first, outside)), forbidden, scores)
            log_probs = op.LogSoftmax(processed, axis=2)
            of_times = op.Where(is_time, log_probs, forbidden)
            best_time = op.ReduceMax(of_times, [2])
            # where none is left their sum is nothing, whatever it is relative to
            shift = op.Where(op.IsInf(best_time), 0.0, best_time)
            total = op.Log(op.ReduceSum(op.Exp(of_times - shift), [2])) + shift  # [B, n, 1]
            best_text = op.ReduceMax(op.Where(is_time, forbidden, log_probs), [2])
            timed_next = op.And(total > best_text, op.Not(is_time))
            processed = op.Where(timed_next, forbidden, processed)
        else:
            processed = op.Identity(scores)
        return processed

    return (return_timestamps,)


PROCESSOR = Processor(
    (RETURN_TIMESTAMPS, NO_TIMESTAMPS_TOKEN_ID, MAX_INITIAL_TIMESTAMP_INDEX), functions
)
