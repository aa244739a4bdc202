from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.skips import is_allowed

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="tritonserver is not installed")
def test_allowed(): ...

@pytest.mark.skip(reason="it is Monday")
def test_marked(): ...

def test_unforeseen():
    pytest.skip("it is late")

@pytest.mark.xfail
def test_expected_to_fail():
    assert False
"""


@pytest.mark.parametrize("ci", ["", "true"])
def test_an_unforeseen_skip_fails_in_ci(ci: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["support.skips"]\n')
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('nonsense')\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors", str(tmp_path)],
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(Path(__file__).parent)},
    )
    counted = done.stdout.splitlines()[-1]
    if not ci:
        assert "4 skipped, 1 xfailed" in counted
        assert done.returncode == 0
        return
    assert "1 failed, 1 skipped, 1 xfailed, 2 errors" in counted
    assert "test_some.py::test_unforeseen was skipped: it is late" in done.stdout
    assert "test_some.py::test_marked was skipped: it is Monday" in done.stdout
    assert "test_module.py was skipped: could not import 'nonsense'" in done.stdout


def test_what_npm_says_without_a_network_is_allowed() -> None:
    assert is_allowed("`npm ci` failed: npm error code ENOTFOUND")
    assert is_allowed("npm cannot get a@1: npm error code EAI_AGAIN")
    assert not is_allowed("`npm ci` failed: the lock file is out of date")
