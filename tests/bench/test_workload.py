"""Workloads are read from text, and their prompts drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from beamgen import BeamgenError
from beamgen.bench.workload import Task, Workload


def test_no_prompt_comes_twice_nor_holds_a_special_id() -> None:
    task = Task(200, 5, num_beams=2, batch_size=3, threads=1)
    first, again, other = (task.prompt(run, 20, [0, 7]) for run in (1, 1, 2))
    assert first.shape == (3, 200)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, replace(task, seed=1).prompt(1, 20, [0, 7]))
    assert set(np.unique(first)) == set(range(3, 20)) - {7}


def test_features_are_drawn_as_ids_are() -> None:
    task = Task(20, 5, num_beams=2, batch_size=3, threads=1)
    first, again, other = (task.features(run, (8, 40)) for run in (1, 1, 2))
    assert (first.shape, first.dtype) == ((3, 8, 40), np.float32)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, replace(task, seed=1).features(1, (8, 40)))


def test_a_workload_is_two_numbers() -> None:
    assert Workload.parse(" 64 + 256") == Workload(64, 256)
    assert str(Workload(64, 256)) == "64+256"
    for text in ("64", "64+", "0+5", "5+0", "a+b", "-1+4", "64+64+64"):
        with pytest.raises(BeamgenError, match="is no workload"):
            Workload.parse(text)
