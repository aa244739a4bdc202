"""Which settings look at tokens, and so at padding: as many as the graph hands tokens to."""

from __future__ import annotations

import pytest

from beamgen.settings.processors.processor import Processor
from beamgen.settings.setting import HISTORY, SOURCE
from beamgen.settings.table import PROCESSORS


def _arguments(function: object) -> set[str]:
    return {parameter.name for parameter in function.op_signature.params}  # type: ignore[attr-defined]


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda each: each.name)
def test_a_setting_says_what_its_function_reads(processor: Processor) -> None:
    of_decoders, *_ = processor.compiled
    read = set()
    if _arguments(of_decoders) & {"history", "input_ids"}:
        read.add(HISTORY)
    if any(_arguments(each) & {"source_ids", "encoder_input_ids"} for each in processor.compiled):
        read.add(SOURCE)
    assert {part for setting in processor.settings for part in setting.reads} == read
