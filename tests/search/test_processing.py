"""Whether any processor has work: the condition that is derived from the settings' table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from support.scores import NO_FLOATS, NO_SEQUENCES, NOTHING

from beamgen.runtime.session import session_of
from beamgen.search import processing
from beamgen.search.functions.library import loop_functions
from beamgen.settings.rules import UNSAID
from beamgen.settings.table import PARAMETERS
from beamgen.tape import Tape

OFF: dict[str, Any] = {
    "repetition_penalty": [1.0],
    "encoder_repetition_penalty": [1.0],
    "no_repeat_ngram_size": [0],
    "encoder_no_repeat_ngram_size": [0],
    "sequence_bias_ids": NO_SEQUENCES,
    "bad_words_ids": NO_SEQUENCES,
    "constraint_states": np.zeros((0, 3)),
    "forced_bos_token_id": [-1],
    "forced_eos_token_id": NOTHING,
    "remove_invalid_values": [0],
    "exponential_decay_length_penalty": NO_FLOATS,
    "suppress_tokens": NOTHING,
    "begin_suppress_tokens": NOTHING,
    "renormalize_logits": [0],
    "do_sample": [0],
}


def in_use(**given: Any) -> np.ndarray:
    dtypes = {parameter.name: parameter.dtype for parameter in PARAMETERS}
    arrays = {name: np.asarray(value, dtypes[name]) for name, value in given.items()}
    inputs = {
        name: ir.Value(
            name=name,
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            shape=ir.Shape([None] * array.ndim),
        )
        for name, array in arrays.items()
    }
    tape = Tape("test")
    found = processing.in_use(tape, inputs)
    found.type = ir.TensorType(ir.DataType.BOOL)
    graph = ir.Graph(
        [*inputs.values()],
        [found],
        nodes=tape.nodes,
        initializers=tape.initializers,
        opset_imports={"": 23, "beamgen": 1},
    )
    model = ir.Model(graph, ir_version=10, functions=loop_functions(UNSAID))
    (answer,) = session_of(model, Path()).run(None, arrays)
    return answer


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"repetition_penalty": [1.0, 1.0, 1.0]},
        {"no_repeat_ngram_size": [0, 0]},
        {"forced_bos_token_id": [-1, -1, -1]},
        {"forced_bos_token_id": NOTHING},
    ],
)
def test_nothing_is_in_use(changed: dict[str, Any]) -> None:
    found = in_use(**(OFF | changed))
    assert found.shape == ()
    assert not found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repetition_penalty", [1.5]),
        ("repetition_penalty", [0.5]),
        ("repetition_penalty", [1.0, 1.0, 1.25]),
        ("encoder_repetition_penalty", [1.0, 1.5]),
        ("no_repeat_ngram_size", [1]),
        ("no_repeat_ngram_size", [0, 3]),
        ("encoder_no_repeat_ngram_size", [2]),
        ("sequence_bias_ids", [[-1, 0], [4, 5]]),
        ("bad_words_ids", [[0]]),
        ("constraint_states", [[0, 0, 1]]),
        ("forced_bos_token_id", [0]),
        ("forced_bos_token_id", [-1, 0]),
        ("forced_eos_token_id", [0]),
        ("remove_invalid_values", [1]),
        ("exponential_decay_length_penalty", [3.0, 1.0]),
        ("suppress_tokens", [0]),
        ("begin_suppress_tokens", [0]),
        ("renormalize_logits", [1]),
        ("do_sample", [1]),
    ],
)
def test_each_setting_is_in_use_by_itself(name: str, value: Any) -> None:
    assert in_use(**(OFF | {name: value}))
