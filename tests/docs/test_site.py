"""The site builds without a warning, and its generated parts are whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import click
import pytest
from support.pages import ROOT

import beamgen
from beamgen.cli import main
from beamgen.settings.setting import IDS, TIMES
from beamgen.settings.table import SETTINGS, parameters_with


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    return folder


def _text(page: Path) -> str:
    """What a reader sees of a page's own part."""
    html = page.read_text(encoding="utf-8")
    article = html[html.index("<article") : html.index("</article>")]
    return unescape(re.sub(r"<[^>]+>", "", article))


def test_every_command_is_in_the_reference(site: Path) -> None:
    html = (site / "cli.html").read_text(encoding="utf-8")
    headings = re.findall(r'<h[23] id="([\w-]+)"', html)
    names = [f"beamgen-{name}" for name in main.list_commands(click.Context(main))]
    assert len(names) > 10
    assert [name for name in names if name not in headings] == []


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    headings = re.findall(
        r'<h3 id="beamgen\.([\w.]+)"', (site / "python.html").read_text(encoding="utf-8")
    )
    assert set(beamgen.__all__) <= {heading.rpartition(".")[2] for heading in headings}


def test_every_setting_and_every_input_is_in_its_table(site: Path) -> None:
    every = parameters_with({IDS, TIMES})
    for page, rows in (("settings.html", SETTINGS), ("inputs-outputs.html", every)):
        html = (site / page).read_text(encoding="utf-8")
        assert [row.name for row in rows if f"<td><code>{row.name}</code></td>" not in html] == []


def test_no_place_is_left_empty(site: Path) -> None:
    """A marker that no hook knows would vanish from the page without a word."""
    for page in site.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        article = html[html.find("<article") :]
        assert not re.search(
            r"<!-- (?:commands|settings|parameters|refused|schema|public names|include)", article
        )


def test_nothing_is_asked_of_another_host(site: Path) -> None:
    """Fonts, scripts, styles and pictures come with the site."""
    for page in site.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', html)
        assert loaded == [], page.name
