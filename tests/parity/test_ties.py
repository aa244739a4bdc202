"""Scores that tie: no divergence, and called a near-tie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import near_ties
from support.near_ties import make_near_tie

from beamgen import check_parity, open_checkpoint, open_package
from beamgen.parity.judge import judge
from beamgen.parity.margins import Margins
from beamgen.parity.report import ParityCase, Verdict
from beamgen.settings.config import SearchConfig
from beamgen.settings.result import BeamOutput


@pytest.mark.parametrize("tokens", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))])
def test_a_tie_at_the_last_step_is_no_divergence(
    tokens: int, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """Past the last step every running beam is dead, and the dead tie in any order."""
    import torch

    from beamgen import export

    model = open_checkpoint(checkpoints("gpt2")).load_model()
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        embedding[48:96] = embedding[0:48]  # every token has a twin
    model.save_pretrained(tmp_path / "twins")
    package = export(tmp_path / "twins", tmp_path / "package", parity=False).package

    def grid(package, likely, seed):
        base = package.manifest.search
        config = replace(base, num_beams=2, num_return_sequences=2, max_new_tokens=tokens)
        return [ParityCase(str(t), ((t, t + 5, t + 9),), 3, config) for t in range(3, 9)]

    report = check_parity(package, open_checkpoint(tmp_path / "twins"), grid=grid)
    assert report.exit_code == 0, report.to_json()["partings"]


@pytest.mark.parametrize("backend", ["loop", "contrib"])
def test_a_tie_is_called_a_near_tie(
    backend: str, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    tie = make_near_tie(checkpoints("gpt2"), tmp_path, backend)
    report = check_parity(
        open_package(tie.package), open_checkpoint(tie.checkpoint), grid=near_ties.cases
    )
    assert report.verdict is Verdict.NEAR_TIE, report.to_json()["partings"]
    assert report.exit_code == 0
    for result in report.results:
        for parting in result.partings:
            assert abs(parting.margin) < 1e-4
            assert {parting.ours[-1], parting.reference[-1]} & tie.twins


def _one_each(rows: list[list[int]]) -> BeamOutput:
    """Greedy answers that all end with an EOS, scored alike."""
    shape = (len(rows), 1)
    return BeamOutput(
        sequences=np.array(rows)[:, None],
        sequences_scores=np.zeros(shape, np.float32),
        finish_reasons=np.ones(shape, np.int64),
        beam_indices=np.zeros((*shape, 0), np.int64),
        token_log_probs=np.zeros((*shape, 0), np.float32),
    )


def test_a_row_beside_a_tie_may_be_padded_to_another_length() -> None:
    case = ParityCase("two", ((5,), (6,)), 1, SearchConfig((1,), 0, num_beams=1))
    tied: Any = SimpleNamespace(
        margins=Margins(), score=lambda *_: -1.0, drawn_alike=lambda *_: True
    )
    theirs = _one_each([[5, 7, 1, 0], [6, 8, 9, 1]])
    found = judge(tied, case, theirs, _one_each([[5, 7, 1], [6, 2, 1]]))
    assert [parting.row for parting in found.partings] == [1]
    assert found.verdict is Verdict.NEAR_TIE
    found = judge(
        tied, case, _one_each([[5, 7, 1, 0], [6, 2, 1, 0]]), _one_each([[5, 7, 1], [6, 2, 1]])
    )
    assert found.verdict is Verdict.DIVERGED, "nobody is as long as that"
