"""What the bare file does with values that `Generator` refuses; docs/search-graph.md says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from beamgen import Generator
from beamgen.settings.table import PARAMETERS

DTYPES = {parameter.name: parameter.dtype for parameter in PARAMETERS}
Outputs = dict[str, np.ndarray]
Run = Callable[..., Outputs]

SAMPLING = {"num_beams": 1, "do_sample": 1, "seed": 3}
BEAM_SAMPLING = {"num_beams": 4, "do_sample": 1, "seed": 3, "num_return_sequences": 4}


@pytest.fixture(scope="module")
def run(generators: Callable[[str], Generator]) -> Run:
    generator = generators("gpt2")
    names = [output.name for output in generator.session.get_outputs()]

    def feed(**values: Any) -> Outputs:
        ids = np.array([[5, 9, 7], [6, 6, 8]])
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        for name, value in {"max_new_tokens": 8, "eos_token_id": [2], **values}.items():
            feeds[name] = np.atleast_1d(np.asarray(value, DTYPES[name]))
        return dict(zip(names, generator.session.run(names, feeds), strict=True))

    return feed


def _same(one: Outputs, other: Outputs) -> bool:
    return np.array_equal(one["sequences"], other["sequences"])


@pytest.mark.parametrize("mode", [SAMPLING, BEAM_SAMPLING], ids=["sampling", "beam sampling"])
@pytest.mark.parametrize(
    ("given", "like"),
    [
        ({"temperature": 0.0}, {"temperature": 1e-6}),
        ({"temperature": -2.0}, {"temperature": 1e-6}),
        ({"top_p": 0.0}, {"top_p": 1e-9}),
        ({"top_p": -1.0}, {"top_p": 1e-9}),
        ({"top_p": 1.5}, {"top_p": 1.0}),
        ({"top_k": -5}, {"top_k": 0}),
        ({"min_p": -1.0}, {"min_p": 0.0}),
        ({"typical_p": 3.0}, {"typical_p": 1.0}),
        ({"epsilon_cutoff": -1.0}, {"epsilon_cutoff": 0.0}),
        ({"eta_cutoff": -1.0}, {"eta_cutoff": 0.0}),
        ({"no_repeat_ngram_size": -2}, {"no_repeat_ngram_size": 0}),
        ({"do_sample": -7}, {"do_sample": 1}),
        ({"remove_invalid_values": 5}, {"remove_invalid_values": 1}),
        ({"renormalize_logits": -1}, {"renormalize_logits": 1}),
        ({"seed": -1}, {"seed": -1}),
    ],
)
def test_values_out_of_range_are_clamped(run: Run, mode: dict, given: dict, like: dict) -> None:
    found = run(**{**mode, **given})
    assert _same(found, run(**{**mode, **like}))
    assert np.isfinite(found["sequences_scores"]).all()


def test_the_coldest_temperature_takes_the_best_token(run: Run) -> None:
    greedy = run(num_beams=1)
    assert _same(run(**SAMPLING, temperature=0.0, top_k=0), greedy)
    assert _same(run(**SAMPLING, top_p=0.0), greedy)
    assert not _same(run(**SAMPLING, temperature=2.0), greedy)


@pytest.mark.parametrize("penalty", [0.0, -1.0])
def test_a_repetition_penalty_of_nothing_still_gives_tokens(run: Run, penalty: float) -> None:
    found = run(repetition_penalty=penalty)
    assert _same(found, run(repetition_penalty=1.2e-38))
    assert found["sequences"].shape[2] > 3


def test_a_negative_seed_is_a_seed(run: Run) -> None:
    assert not _same(run(**{**SAMPLING, "seed": -1}), run(**{**SAMPLING, "seed": 0}))


def test_more_sequences_than_beams(run: Run) -> None:
    assert run(num_beams=3, num_return_sequences=5)["sequences"].shape[1] == 3
    assert run(**SAMPLING, num_return_sequences=5)["sequences"].shape[1] == 5
    assert run(num_beams=1, num_return_sequences=5)["sequences"].shape[1] == 1
    for mode in ({}, SAMPLING):
        assert run(**mode, num_return_sequences=0)["sequences"].shape[1] == 0


def test_what_is_not_asked_for_is_empty(run: Run) -> None:
    assert run()["beam_indices"].shape[2] == run()["token_log_probs"].shape[2] == 0
    found = run(output_scores=1, num_return_sequences=3)
    length = found["sequences"].shape[2] - 3
    assert found["beam_indices"].shape == found["token_log_probs"].shape == (2, 3, length)
    ends = (found["beam_indices"] >= 0).sum(axis=2)
    sums = found["token_log_probs"].sum(axis=2)
    np.testing.assert_allclose(sums / ends, found["sequences_scores"], rtol=1e-5)


def test_when_everything_is_banned_nothing_is_found(run: Run) -> None:
    """Without a NaN, which HF has there."""
    for mode in ({}, {"num_beams": 1}, SAMPLING, BEAM_SAMPLING):
        for renormalized in (0, 1):
            found = run(**mode, suppress_tokens=range(96), renormalize_logits=renormalized)
            assert (found["finish_reasons"] == 0).all()
            assert not np.isnan(found["sequences_scores"]).any()


def test_sequences_aligned_on_the_left_ban_the_last_id(run: Run) -> None:
    assert _same(run(bad_words_ids=[[5, -1]]), run(bad_words_ids=[[5, 95]]))


@pytest.mark.parametrize(
    "given",
    [
        {"suppress_tokens": [500]},
        {"eos_token_id": [500], "min_new_tokens": 2},
        {"bad_words_ids": [[500]]},
        {"temperature": [0.5, 0.5, 0.5], "do_sample": 1},
        {"constraint_states": [[9, 0, 0]], "constraint_rows": [[0, 1, -1]]},
    ],
)
def test_what_cannot_be_is_an_error_of_onnx_runtime(run: Run, given: dict) -> None:
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        run(**given)


def test_an_eos_outside_the_vocabulary_never_comes(run: Run) -> None:
    assert _same(run(eos_token_id=[500], pad_token_id=1), run(eos_token_id=[], pad_token_id=1))
