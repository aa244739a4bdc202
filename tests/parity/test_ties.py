"""Scores that tie: no divergence, and called a near-tie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support import near_ties
from support.near_ties import make_near_tie

from beamgen import check_parity, open_checkpoint, open_package
from beamgen.parity.report import ParityCase, Verdict


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
