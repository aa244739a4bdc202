"""Jobs in this process, and files of the tiny model that are made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.benches import run_in_process


@pytest.fixture
def jobs_in_process(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A list of the jobs that ran, each in this process."""
    return run_in_process(monkeypatch)


@pytest.fixture(scope="session")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of the tiny model are made once."""
    return tmp_path_factory.mktemp("bench") / "work"
