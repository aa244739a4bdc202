"""In CI, which sets ``CI``, a test that is skipped for an unforeseen reason has failed.

A skip that nobody sees is a test that does not exist. Elsewhere any reason will do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

#: Why a test may be skipped in CI, as a pattern, and why no machine of ours can help it.
ALLOWED = {
    r"^unproven here: that CUDA runs": "there is no GPU",
    r"^here it can run$": "there is a GPU, and the test is of what is said without one",
    r"^tritonserver is not installed$": "NVIDIA gives it in containers only",
    r"^ray is not installed$": "with what it brings it takes half a gigabyte",
    r"^there is no dotnet on this machine$": "none of the registries that are reached has it",
    r"^NuGet has no Microsoft.ML.OnnxRuntime here": "its registry is not reached",
    r"^there is no chromium on this machine$": ".ci/run could not install it, and said so",
    r"npm.*(E404|EAI_AGAIN|ECONN|ENETUNREACH|ENOTFOUND|ETIMEDOUT)": "npm's registry is not reached",
    r"^[\w-]+ needs [\w-]+(, [\w-]+)*$": "a contestant: the extra [bench] takes gigabytes",
}


def is_allowed(reason: str) -> bool:
    """Whether a test may be skipped for that in CI."""
    return any(re.search(pattern, reason, re.DOTALL) for pattern in ALLOWED)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """One test, once pytest has told an expected failure from a skip."""
    report = yield
    _judge(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself."""
    report = yield
    _judge(report)
    return report


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return
    assert isinstance(report.longrepr, tuple)
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if not is_allowed(reason):
        report.outcome = "failed"
        report.longrepr = (
            f"{report.nodeid} was skipped: {reason}\n"
            "In CI that is a failure: see ALLOWED in tests/support/skips.py."
        )
