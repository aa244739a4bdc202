"""States that each beam carries beside the tree cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.onnx_functions import run

from beamgen import check_parity, export, find_adapter, open_checkpoint
from beamgen.decoder.recurrence import Recurrence
from beamgen.errors import AdapterError
from beamgen.parity.report import ParityCase, Verdict
from beamgen.search import loop
from beamgen.search.functions import states
from beamgen.testing import tiny_model

#: The architecture that has them.
NAME = "jamba"


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("decays_alike", [False, True])
def test_a_recurrence_goes_from_token_to_token(length: int, decays_alike: bool) -> None:
    rng = np.random.default_rng(length)
    added = rng.normal(size=(2, length, 3, 4)).astype(np.float32)
    decay = rng.uniform(size=(2, length, 3, 1 if decays_alike else 4)).astype(np.float32)
    state = rng.normal(size=(2, 3, 4)).astype(np.float32)
    expected = np.empty_like(added)
    for place in range(length):
        before = expected[:, place - 1] if place else state
        expected[:, place] = decay[:, place] * before + added[:, place]
    (found,) = run(Recurrence, decay, added, state)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_beam_goes_on_from_its_parent_s_state() -> None:
    before = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    parents = np.array([[2, 2, 0], [1, 0, 1]])
    (found,) = run(states.next_states, before, parents)
    expected = [[before[row, parent] for parent in parents[row]] for row in (0, 1)]
    assert found.tolist() == np.array(expected).tolist()


def test_all_beams_begin_with_the_prompt_s_state() -> None:
    """Also one that no continuation was left for, whose parent is another beam than the first."""
    before = np.arange(2 * 4, dtype=np.float32).reshape(2, 1, 4)
    (found,) = run(states.next_states, before, np.array([[0, 0, 1], [0, 2, 0]]))
    assert found.tolist() == before.repeat(3, axis=1).tolist()


def test_the_mask_of_a_piece_is_the_prompt_s() -> None:
    mask = np.array([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1]])
    pieces = [run(states.piece_mask, mask, piece, [2])[0].tolist() for piece in (0, 1, 2)]
    assert pieces == [[[0, 0], [1, 1]], [[0, 1], [1, 1]], [[1], [1]]]
    (beams,) = run(states.beams_mask, np.array([[7, 8, 9]]))
    assert beams.tolist() == [[1, 1, 1]]


@pytest.fixture(scope="module")
def checkpoint(once: Callable[..., Path]) -> Path:
    config = find_adapter(NAME).tiny_config()
    return once("states", lambda to: tiny_model(config).save_pretrained(to))


def _padded(package: Any, likely: Any, seed: int) -> list[ParityCase]:
    """Rows whose padding is no piece, a part of one, and several; EOS comes where it is likely."""
    rng = np.random.default_rng(3)
    prompts = tuple(tuple(rng.integers(3, 96, size=n).tolist()) for n in (11, 9, 2))
    config = package.manifest.search.with_overrides(
        {
            "num_beams": 4,
            "num_return_sequences": 4,
            "max_new_tokens": 12,
            "eos_token_id": (2, *likely(prompts)[:1]),
        }
    )
    return [ParityCase("states", prompts, 12, config)]


@pytest.mark.slow
@pytest.mark.transformers_4
def test_states_pass_through_pieces_padding_and_choices(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROMPT_PIECE", 4)
    package = export(checkpoint, tmp_path / "package", parity=False).package
    report = check_parity(package, open_checkpoint(checkpoint), grid=_padded)
    assert [result.verdict for result in report.results] == [Verdict.EXACT]


def test_what_has_no_place_for_states_refuses_them(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="carries states") as error:
        export(checkpoint, tmp_path / "package", backend="contrib")
    assert "ONNX Runtime's operators" in error.value.cause
    assert not (tmp_path / "package").exists()
