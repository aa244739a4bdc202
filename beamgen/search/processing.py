"""Scores go through the logits processors, in the order of the settings' table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from beamgen.search.functions import processors
from beamgen.search.state import Settings, Step
from beamgen.settings.parameter import Parameter
from beamgen.settings.processors import renormalize_logits, top_k, top_p
from beamgen.settings.processors.processor import Processor
from beamgen.settings.setting import WHEN_SAMPLING, Setting
from beamgen.settings.table import BY_NAME, PROCESSORS
from beamgen.tape import Tape

_LAST = renormalize_logits.PROCESSOR
#: Warpers that shorten the list of candidates.
_SHORTENING = (top_k.PROCESSOR, top_p.PROCESSOR)

_WARPERS = [processor for processor in PROCESSORS if processor.heeded == WHEN_SAMPLING]
_PROCESSORS = [each for each in PROCESSORS if each not in _WARPERS and each is not _LAST]


def in_use(tape: Tape, parameters: Mapping[str, ir.Value]) -> ir.Value:
    """Whether any processor has work in every step, a scalar: some setting is not off."""
    settings = [
        setting
        for processor in (*_PROCESSORS, _LAST)
        if not processor.in_some_steps
        for setting in processor.settings
        if setting.in_graph
    ]
    each = [_is_on(tape, setting, parameters) for setting in (*settings, BY_NAME["do_sample"])]
    together = tape.standard("Concat", *each, output="settings_on", axis=0)
    zero = tape.constant("off", 0)
    some = tape.standard("Greater", together, zero, output="some_on")
    (on,) = tape.call(processors.anywhere, some, outputs="in_use")
    return on


def _is_on(tape: Tape, setting: Setting, parameters: Mapping[str, ir.Value]) -> ir.Value:
    """Above 0 where a setting is on: int64 ``[1]``, or one for each row."""
    first: Parameter = setting.parameters[0]
    value = parameters[first.name]
    if not (first.per_row or first.axes == ("1",)):  # a list is off where it is empty
        return tape.standard("Shape", value, output=f"{setting.name}.count", end=1)
    off = np.asarray(setting.does_nothing, first.dtype)
    neutral = tape.constant(f"{setting.name}.off", off, off.dtype)
    same = tape.standard("Equal", value, neutral, output=f"{setting.name}.is_off")
    differs = tape.standard("Not", same, output=f"{setting.name}.is_on")
    return tape.standard("Cast", differs, output=f"{setting.name}.on", to=ir.DataType.INT64)


def processed(tape: Tape, step: Step, scores: ir.Value) -> ir.Value:
    """All processors up to the warpers, in HF's order, on ``[B, n, V]``."""
    (history,) = tape.call(
        processors.token_history,
        scores,
        step.input_ids,
        step.state.running_tokens,
        outputs="history",
    )
    readable = {
        **step.settings,
        "history": history,
        "input_ids": step.input_ids,
        "generated_len": step.generated_len,
        "node": step.state.node,
    }
    for processor in _PROCESSORS:
        scores = _applied(tape, processor, scores, readable)
    return scores


def warped(tape: Tape, scores: ir.Value, settings: Settings) -> tuple[ir.Value, ir.Value]:
    """Scores ``[B, n, V]`` -> candidates' scores and token ids ``[B, n, N]``.

    ``top_k`` and ``top_p`` make the lists shorter where they are on.
    """
    ids = None
    for processor in _WARPERS:
        if processor is top_k.PROCESSOR:
            scores, ids = _best_tokens(tape, scores, settings)
        elif processor is top_p.PROCESSOR:
            assert ids is not None, "top_k comes before top_p"
            scores, ids = _likeliest(tape, scores, ids, settings)
        else:
            scores = _applied(tape, processor, scores, settings)
    assert ids is not None, "top_k lists the candidates"
    return renormalized(tape, scores, settings), ids


def renormalized(tape: Tape, scores: ir.Value, settings: Settings) -> ir.Value:
    """The last processor of all."""
    return _applied(tape, _LAST, scores, settings)


def _applied(
    tape: Tape, processor: Processor, scores: ir.Value, readable: Mapping[str, ir.Value]
) -> ir.Value:
    """Call a processor with what its function reads, by the names of its arguments."""
    function = processor.compiled[0]
    _, *arguments = (value.name for value in function.function_ir.inputs)
    (after,) = tape.call(
        function,
        scores,
        *(readable[name] for name in arguments),
        outputs=f"after_{processor.name}",
    )
    return after


def _best_tokens(tape: Tape, scores: ir.Value, settings: Settings) -> tuple[ir.Value, ir.Value]:
    """``top_k`` -> scores and token ids ``[B, n, N]``."""
    best, is_on, every_token = top_k.PROCESSOR.compiled
    count = settings["top_k"]
    (on,) = tape.call(is_on, count, outputs="top_k_on")
    listed, ids = tape.branch(
        on,
        lambda side: side.call(
            best, scores, count, settings["min_tokens_to_keep"], outputs="listed ids"
        ),
        lambda side: [scores, *side.call(every_token, scores, outputs="ids")],
        names=("top_k", "all"),
        outputs="after_top_k top_k_ids",
    )
    return listed, ids


def _likeliest(
    tape: Tape, scores: ir.Value, ids: ir.Value, settings: Settings
) -> tuple[ir.Value, ir.Value]:
    """``top_p`` -> scores and token ids ``[B, n, N]``, a shorter N where it is on."""
    likeliest, is_on = top_p.PROCESSOR.compiled
    total = settings["top_p"]
    (on,) = tape.call(is_on, total, outputs="top_p_on")
    listed, kept = tape.branch(
        on,
        lambda side: side.call(
            likeliest, scores, ids, total, settings["min_tokens_to_keep"], outputs="listed ids"
        ),
        lambda side: [scores, ids],
        names=("top_p", "whole"),
        outputs="after_top_p token_ids",
    )
    return listed, kept
