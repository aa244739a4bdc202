"""Scores go through the logits processors, in the order of the settings' table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from beamgen.search.functions import later_rules, processors
from beamgen.search.state import Settings, Step
from beamgen.settings.parameter import Parameter
from beamgen.settings.processors import (
    bad_words_ids,
    constraint,
    encoder_no_repeat_ngram_size,
    renormalize_logits,
    repetition_penalty,
    sequence_bias,
    top_k,
    top_p,
)
from beamgen.settings.processors.processor import Processor
from beamgen.settings.setting import WHEN_SAMPLING, Setting
from beamgen.settings.table import BY_NAME, PROCESSORS
from beamgen.tape import Results, Tape

#: Under the settings of a step: the ids that an encoder reads, int64 ``[B, source]``.
SOURCE_IDS = "source_ids"

_LAST = renormalize_logits.PROCESSOR
_WARPERS = [processor for processor in PROCESSORS if processor.heeded == WHEN_SAMPLING]
_PROCESSORS = [each for each in PROCESSORS if each not in _WARPERS and each is not _LAST]


def in_use(tape: Tape, parameters: Mapping[str, ir.Value]) -> ir.Value:
    """Whether any processor has work in every step, a scalar: some setting is not off."""
    settings = [
        processor.settings[0]
        for processor in (*_PROCESSORS, _LAST)
        if processor.settings and not processor.in_some_steps and _is_in(processor, parameters)
    ]
    each = [_is_on(tape, setting, parameters) for setting in (*settings, BY_NAME["do_sample"])]
    together = tape.standard("Concat", *each, output="settings_on", axis=0)
    zero = tape.constant("off", 0)
    some = tape.standard("Greater", together, zero, output="some_on")
    return tape.value(processors.anywhere, some, name="in_use")


def _is_on(tape: Tape, setting: Setting, parameters: Mapping[str, ir.Value]) -> ir.Value:
    """Above 0 where a setting is on: int64 ``[1]``, or one for each row."""
    first: Parameter = setting.parameters[0]
    value = parameters[first.name]
    if not (first.per_row or first.axes == ("1",)):  # a list is off where it is empty
        return tape.standard("Shape", value, output=f"{setting.name}.count", end=1)
    (off,) = setting.kind.arrays(setting.name, setting.does_nothing)[first.name]
    neutral = tape.constant(f"{setting.name}.off", off, off.dtype)
    same = tape.standard("Equal", value, neutral, output=f"{setting.name}.is_off")
    differs = tape.standard("Not", same, output=f"{setting.name}.is_on")
    return tape.standard("Cast", differs, output=f"{setting.name}.on", to=ir.DataType.INT64)


def _is_in(processor: Processor, parameters: Mapping[str, ir.Value]) -> bool:
    """Whether a graph has the inputs that a processor reads, if it has any."""
    named = [each.name for setting in processor.settings for each in setting.parameters]
    return not named or named[0] in parameters


def processed(tape: Tape, step: Step, scores: ir.Value) -> ir.Value:
    """All processors up to the warpers, in HF's order, on ``[B, n, V]``."""
    history = tape.value(
        processors.token_history, scores, step.prompt.input_ids, step.state.running_tokens
    )
    readable = {
        **step.settings,
        "input_ids": step.prompt.input_ids,
        "encoder_input_ids": step.settings.get(SOURCE_IDS, step.prompt.input_ids),
        "generated_len": step.generated_len,
        "node": step.state.node,
    }
    histories = _histories(tape, step, history)
    for processor in _PROCESSORS:
        if not _is_in(processor, readable):
            continue
        reads = {**readable, "history": histories.get(processor.name, history)}
        scores = _applied(tape, processor, scores, reads)
        if processor is constraint.PROCESSOR and step.rules.constraint_wins:
            scores = _into_constraint(tape, step, scores)
    return scores


def _histories(tape: Tape, step: Step, history: ir.Value) -> dict[str, ir.Value]:
    """The histories of processors for which the rules make it another, by their names."""
    found = {}
    if step.rules.bias_reaches_back:
        longer = tape.value(later_rules.one_id_before, history)
        biased = (sequence_bias.PROCESSOR, bad_words_ids.PROCESSOR)
        found = {processor.name: longer for processor in biased}
    if step.rules.penalty_spares_padding:
        found[repetition_penalty.PROCESSOR.name] = tape.value(
            later_rules.without_padding, history, step.prompt.attention_mask
        )
    return found


def _into_constraint(tape: Tape, step: Step, scores: ir.Value) -> ir.Value:
    settings = step.settings
    apart = settings["one_beam"]
    if step.rules.chains_share_constraint:
        apart = tape.constant("chains_apart", False, np.bool_)
    return tape.value(
        later_rules.into_constraint,
        scores,
        step.state.node,
        settings["constraint_states"],
        settings["constraint_rows"],
        settings["constraint_edges"],
        settings["eos_token_id"],
        apart,
    )


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
    if processor is encoder_no_repeat_ngram_size.PROCESSOR and SOURCE_IDS in readable:
        function = processor.compiled[1]
    _, *arguments = (value.name for value in function.function_ir.inputs)
    return tape.value(function, scores, *(readable[name] for name in arguments))


def _best_tokens(tape: Tape, scores: ir.Value, settings: Settings) -> tuple[ir.Value, ir.Value]:
    """``top_k`` -> scores and token ids ``[B, n, N]``."""
    best_function, is_on, every_token = top_k.PROCESSOR.compiled
    count, to_keep = settings["top_k"], settings["min_tokens_to_keep"]

    def shortened(side: Tape) -> Results:
        best, ids = side.call(best_function, scores, count, to_keep)
        return Results(after_top_k=best, top_k_ids=ids)

    def whole(side: Tape) -> Results:
        return Results(after_top_k=scores, top_k_ids=side.value(every_token, scores))

    listed, ids = tape.branch(tape.value(is_on, count), shortened, whole, sides=("top_k", "all"))
    return listed, ids


def _likeliest(
    tape: Tape, scores: ir.Value, ids: ir.Value, settings: Settings
) -> tuple[ir.Value, ir.Value]:
    """``top_p`` -> scores and token ids ``[B, n, N]``, a shorter N where it is on."""
    likeliest_function, is_on = top_p.PROCESSOR.compiled
    total, to_keep = settings["top_p"], settings["min_tokens_to_keep"]

    def shortened(side: Tape) -> Results:
        best, kept = side.call(likeliest_function, scores, ids, total, to_keep)
        return Results(after_top_p=best, top_p_ids=kept)

    def whole(side: Tape) -> Results:
        return Results(after_top_p=scores, top_p_ids=ids)

    listed, kept = tape.branch(tape.value(is_on, total), shortened, whole, sides=("top_p", "whole"))
    return listed, kept
