"""README, CONTRIBUTING and docs: short, whole, and true of the repository."""

from __future__ import annotations

import re
import subprocess

import pytest
from support.pages import ROOT, read_page

PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"] + [
    page.relative_to(ROOT).as_posix() for page in sorted((ROOT / "docs").glob("*.md"))
]

#: Of ONNX Runtime's and CMake's, in the pages for C++; of GitHub's and pip's, in that for CI.
BUILD_NAMES = {"ORT_ROOT", "DORT_ROOT", "DCMAKE_BUILD_TYPE"}
CI_NAMES = {"GITHUB_STEP_SUMMARY", "PIP_CACHE_DIR"}
RUN_NAMES = {"GLIBC_TUNABLES", "MADV_COLLAPSE"}

#: Files of the repository that pages name, in code or in prose.
_FILE = re.compile(r"(?<![\w/.-])(?:beamgen|docs|examples|model_adapters|scripts|tests)/[\w/.-]*\w")


def test_the_readme_is_short() -> None:
    assert len(read_page("README.md").splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    """MkDocs tests those between pages; these are the ones that it does not see, too."""
    for link in re.findall(r"\]\(([^)#]+)", read_page(page)):
        if "://" not in link:
            assert ((ROOT / page).parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_every_anchor_of_another_page_is_a_heading_there(page: str) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]+\.md)#([\w-]+)\)", read_page(page)):
        text = ((ROOT / page).parent / target).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        assert anchor in map(_anchor, headings), f"{target}#{anchor}"


def _anchor(heading: str) -> str:
    """As MkDocs and GitHub both make it."""
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    """A module that moved takes its name in the pages with it."""
    missing = [name for name in _FILE.findall(read_page(page)) if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_machine(page: str) -> None:
    assert re.findall(r"(?<!\w)/(?:work|tmp|root|home|opt|mnt|Users)/\S*", read_page(page)) == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_no_figure_is_left_to_be_filled_in(page: str) -> None:
    names = re.findall(r"\b[A-Z]{3,}_[A-Z_]+\b", read_page(page))
    assert not set(names) - BUILD_NAMES - CI_NAMES - RUN_NAMES


@pytest.mark.parametrize("target", ["demo", "test", "check", "docs", "slow", "bench"])
def test_the_makefile_has_the_targets_that_the_texts_name(target: str) -> None:
    result = subprocess.run(["make", "--dry-run", target], cwd=ROOT, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
