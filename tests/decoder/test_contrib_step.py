"""What the contrib decoder is given, in the operator's prompt pass and in later steps."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from support.architectures import ARCHITECTURES
from support.onnx_functions import run

from beamgen import find_adapter
from beamgen.decoder import contract
from beamgen.decoder.contrib_step import ContribStep
from beamgen.decoder.export import export_decoder
from beamgen.search.functions.contrib_cache import op_inputs
from beamgen.testing import tiny_model

NO_WINDOW = [2**62]
MASKED = np.finfo(np.float32).min


def _inputs(ids: list, mask: list, past_len: int, beams: int, window: list = NO_WINDOW) -> dict:
    past = np.zeros((2, len(ids), 3, past_len, 4), np.float32)
    names = ("ids", "positions", "bias", "row_of_copy", "key_rows", "value_rows", "flat_shape")
    int32 = [np.array(value, np.int32) for value in (ids, mask)]
    return dict(zip(names, run(op_inputs, *int32, past, [beams], window), strict=True))


def test_the_prompt_is_computed_once_for_its_copies() -> None:
    ids = [[5, 6, 7]] * 2 + [[0, 8, 9]] * 2
    mask = [[1, 1, 1]] * 2 + [[0, 1, 1]] * 2
    found = _inputs(ids, mask, past_len=0, beams=2)
    assert found["ids"].tolist() == [[5, 6, 7], [0, 8, 9]]
    assert found["positions"].tolist() == [[0, 1, 2], [1, 0, 1]], "masked ones are 1, as in HF"
    assert found["row_of_copy"].tolist() == [0, 0, 1, 1]
    assert found["key_rows"].tolist() == [0, 2]
    assert found["value_rows"].tolist() == [4, 6]
    assert found["flat_shape"].tolist() == [-1, 3, 3, 4]
    seen = (found["bias"][:, 0] == 0).tolist()
    assert seen[0] == [[True, False, False], [True, True, False], [True, True, True]]
    assert seen[1] == [[False] * 3, [False, True, False], [False, True, True]]


def test_a_later_step_is_computed_for_every_beam() -> None:
    found = _inputs([[5], [6], [8], [9]], [[1] * 4] * 2 + [[0, 1, 1, 1]] * 2, past_len=3, beams=2)
    assert found["ids"].tolist() == [[5], [6], [8], [9]]
    assert found["positions"].tolist() == [[3], [3], [2], [2]]
    assert found["row_of_copy"].tolist() == found["key_rows"].tolist() == [0, 1, 2, 3]
    assert found["value_rows"].tolist() == [4, 5, 6, 7]
    assert found["flat_shape"].tolist() == [-1, 3, 4, 4]
    assert (found["bias"][:, 0, 0] == 0).tolist() == [[True] * 4] * 2 + [[False] + [True] * 3] * 2
    assert set(np.unique(found["bias"])) == {MASKED, 0.0}


def test_an_id_like_a_pad_id_does_not_shift_positions() -> None:
    """The operator's own position_ids would count it as padding."""
    found = _inputs([[0, 5, 0, 7]], [[1, 1, 1, 1]], past_len=0, beams=1)
    assert found["positions"].tolist() == [[0, 1, 2, 3]]


def test_a_window_hides_what_lies_further_back() -> None:
    found = _inputs([[5]], [[1] * 6], past_len=5, beams=1, window=[3])
    assert (found["bias"][0, 0, 0] == 0).tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_decoder_holds_its_contract_and_gives_the_copies_their_cache(
    name: str, tmp_path
) -> None:
    adapter = find_adapter(name)
    geometry = adapter.kv_geometry(adapter.tiny_config())
    model = tiny_model(adapter.tiny_config())
    decoder = export_decoder(adapter, model, tmp_path, ContribStep).model
    contract.verify(decoder, contract.contrib_contract(geometry, 96))
    ours = [node.op_type for node in decoder.graph if node.domain == "beamgen"]
    assert ours == ["ConcatenatedCache", "ConcatenatedCacheAttention"] * 2
    session = onnxruntime.InferenceSession(
        ir.to_proto(decoder).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    past = np.zeros((2, 3, geometry.num_kv_heads, 0, geometry.head_dim), np.float32)
    causal = np.triu(np.full((1, 1, 4, 4), MASKED, np.float32), 1)
    feeds = {
        "input_ids": np.array([[5, 9, 7, 11]]),
        "position_ids": np.arange(4)[None],
        "attention_bias": causal,
        "row_of_copy": np.array([0, 0, 0]),
        "key_rows": np.array([0]),
        "value_rows": np.array([3]),
        "flat_shape": np.array([-1, geometry.num_kv_heads, 4, geometry.head_dim]),
        "past_0": past,
        "past_1": past,
    }
    logits, *present = session.run(None, feeds)
    model = tiny_model(adapter.tiny_config())
    import torch

    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[5, 9, 7, 11]]), use_cache=True)
    np.testing.assert_allclose(logits[0, 0], expected.logits[0, -1], atol=1e-3)
    for layer, (cache, (key, value, *_)) in enumerate(
        zip(present, expected.past_key_values, strict=True)
    ):
        for copy in range(3):
            np.testing.assert_allclose(cache[0, copy], key[0], atol=1e-3, err_msg=f"{layer}")
            np.testing.assert_allclose(cache[1, copy], value[0], atol=1e-3, err_msg=f"{layer}")
