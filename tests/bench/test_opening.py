"""The folder of a bench is of one model, which is long enough."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.benches import SMALL
from support.odd_checkpoints import edit_config

from beamgen import BeamgenError, bench


def test_a_workdir_is_of_one_model(
    jobs_in_process, checkpoints, workdir: Path, tmp_path: Path
) -> None:
    bench(checkpoints("gpt2"), against=["transformers"], workdir=workdir, **SMALL)
    with pytest.raises(BeamgenError, match="files of another model"):
        bench(checkpoints("phi3"), workdir=workdir, **SMALL)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(BeamgenError, match="holds something else"):
        bench(checkpoints("gpt2"), workdir=tmp_path, **SMALL)


def test_a_model_may_be_too_short(jobs_in_process, checkpoints) -> None:
    with pytest.raises(BeamgenError, match=r"250\+10 tokens are more than the 256 positions"):
        bench(checkpoints("gpt2"), against=["transformers"], **{**SMALL, "workloads": ["250+10"]})


def test_what_a_checkpoint_says_that_means_nothing(
    jobs_in_process, checkpoints, tmp_path: Path
) -> None:
    folder = edit_config(Path(shutil.copytree(checkpoints("gpt2"), tmp_path / "ck")), mup_base=8)
    with pytest.raises(BeamgenError, match="does not read mup_base"):
        bench(folder, against=["transformers"], **SMALL)
    report = bench(folder, against=["transformers"], ignore_unread=["mup_*"], **SMALL)
    assert report.results[0].rows[0].median is not None
