"""What of the engine on Ray needs no Ray."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from beamgen.batch import ray_engine
from beamgen.errors import MissingExtraError


def test_ray_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError) as error:
        ray_engine._import_ray()
    assert error.value.cure == "pip install 'beamgen[ray]'"


def test_batches_become_tasks_of_about_the_same_work() -> None:
    works = [90, 40, 40, 30, 30, 20, 5, 5]
    batches: list[Any] = [SimpleNamespace(work=work) for work in works]
    tasks = list(ray_engine.in_tasks(batches, 3))
    assert [[batch.work for batch in task] for task in tasks] == [
        [90],
        [40, 40, 30],
        [30, 20, 5, 5],
    ]
    assert [batch for task in tasks for batch in task] == batches
    assert list(ray_engine.in_tasks(batches, 100)) == [[batch] for batch in batches]
    assert list(ray_engine.in_tasks([], 4)) == []
