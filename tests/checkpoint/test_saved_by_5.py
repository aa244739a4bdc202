"""A checkpoint that transformers 5.24.0 wrote, and what its own ``generate`` said of it there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.odd_checkpoints import edit_config

from beamgen import Generator, export

SAVED = Path(__file__).parent / "saved_by_5_24"
PROMPT = [5, 9, 7, 11, 30]
SEARCH = {"num_beams": 4, "max_new_tokens": 10}

#: Phi-3 of two layers with ``rope_theta`` 50, which stands in ``rope_parameters`` alone.
BY_5_24 = ([27, 8, 41, 29, 31, 47, 23, 29, 25, 54], -1.9230760335922241)
#: The same weights with 10000, which 4.57 takes where it finds no theta.
WITH_10000 = ([6, 40, 20, 29, 25, 20, 43, 53, 52, 40], -2.033470869064331)


def _searched(folder: Path, to: Path) -> tuple[list[int], float]:
    package = export(folder, to, parity=False).package
    (found,) = Generator(package).generate([PROMPT], **SEARCH)
    return found[0].token_ids, found[0].score


def test_its_answer_is_that_of_5_24(tmp_path: Path) -> None:
    tokens, score = _searched(SAVED, tmp_path / "package")
    assert (tokens, score) == (BY_5_24[0], pytest.approx(BY_5_24[1], abs=1e-4))


def test_the_theta_is_what_makes_it(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SAVED, tmp_path / "phi3"))
    edit_config(folder, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    tokens, score = _searched(folder, tmp_path / "package")
    assert (tokens, score) == (WITH_10000[0], pytest.approx(WITH_10000[1], abs=1e-4))
