"""Memory that grows with a prompt's length, not with its square."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from support.pages import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are Linux's")


def _measured(length: int) -> dict[str, Any]:
    script = ROOT / "scripts" / "memory_of_prompts.py"
    done = subprocess.run(
        [sys.executable, script, "--length", str(length), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["beamgen"]["tokens"] == found["transformers"]["tokens"]
    return found


@pytest.mark.slow
def test_no_scores_of_a_whole_prompt_are_held() -> None:
    """Of 32 heads they would be 512 MB."""
    found = _measured(2048)
    assert found["beamgen"]["growth"] < 32 * 2048**2 * 4 / 3


@pytest.mark.slow
def test_16384_tokens_take_no_more_than_one_beam_of_transformers() -> None:
    """Ours searches with five; 1.3 times as much is allowed."""
    found = _measured(16384)
    assert found["beamgen"]["growth"] < 1.3 * found["transformers, 1 beam"]["growth"]
