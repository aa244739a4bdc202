"""What a CI gets of ``parity`` and ``export``: an exit code, a report of tests, a summary."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from click.testing import CliRunner, Result
from support import near_ties
from support.wrong_graphs import shifted_position

import beamgen
from beamgen import Package, open_package
from beamgen.cli import main
from beamgen.package.folder import write_manifest


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def right(packages: Callable[[str], Package], tmp_path: Path) -> Path:
    return Path(shutil.copytree(packages("gpt2").folder, tmp_path / "right"))


@pytest.fixture
def wrong(packages: Callable[[str], Package], tmp_path: Path) -> Path:
    """Positions are one too high."""
    folder = tmp_path / "wrong"
    folder.mkdir()
    model = onnx.load(packages("gpt2").model)
    shifted_position(model)
    onnx.save(model, folder / "model.onnx")
    write_manifest(folder, packages("gpt2").manifest)
    return folder


def failures(file: Path) -> list[str]:
    return [str(each.get("message")) for each in ElementTree.parse(file).iter("failure")]


def test_exact_is_0_with_both_reports(run: Callable[..., Result], right: Path) -> None:
    Path("parity.xml").write_text("of an earlier run")
    Path("summary.md").write_text("# The job\nsome line")
    done = run("parity", "-m", right, "--junit", "parity.xml", "--summary", "summary.md", "--json")
    assert done.exit_code == 0, done.output
    verdict = json.loads(done.stdout)
    assert verdict["verdict"] == "exact"
    (suite,) = ElementTree.parse("parity.xml").getroot()
    assert suite.get("name") == "right, quick grid"
    assert suite.get("tests") == str(verdict["cases"]) == "12"
    assert failures(Path("parity.xml")) == []
    summary = Path("summary.md").read_text(encoding="utf-8")
    assert summary.startswith("# The job\nsome line\n## ✅ Parity of `right`: exact\n")
    assert sorted(path.name for path in Path().iterdir()) == ["parity.xml", "right", "summary.md"]


def test_diverged_is_3_and_each_such_case_a_failure(
    run: Callable[..., Result], wrong: Path
) -> None:
    done = run("parity", "-m", wrong, "--junit", "parity.xml", "--summary", "summary.md")
    assert done.exit_code == 3, done.output
    report = open_package(wrong).manifest.parity
    assert report is not None
    found = failures(Path("parity.xml"))
    assert len(found) == report["diverged"] > 0
    assert all(each.startswith("diverged at step ") for each in found)
    assert "## ❌ Parity of `wrong`: diverged" in Path("summary.md").read_text(encoding="utf-8")


def test_near_ties_alone_are_0_and_in_the_reports(
    run: Callable[..., Result],
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tie = near_ties.make_near_tie(checkpoints("gpt2"), tmp_path)
    monkeypatch.setitem(beamgen.GRIDS, "quick", near_ties.cases)
    done = run("parity", "-m", tie.package, "--junit", "parity.xml", "--summary", "summary.md")
    assert done.exit_code == 0, done.output
    assert open_package(tie.package).manifest.parity["verdict"] == "near-tie"
    assert failures(Path("parity.xml")) == []
    assert "near-tie at step" in Path("parity.xml").read_text(encoding="utf-8")
    assert "## ⚠️ Parity of `nudged`: near-tie" in Path("summary.md").read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_1_and_a_usage_error_2(
    run: Callable[..., Result], right: Path, checkpoints: Callable[[str], Path]
) -> None:
    assert run("parity", "-m", "nothing", "--junit", "x.xml").exit_code == 1
    assert run("parity", "-m", right, "--checkpoint", checkpoints("phi3")).exit_code == 1
    assert run("parity", "-m", right, "--grid", "huge").exit_code == 2
    assert run("parity", "-m", right, "--seed", "-1").exit_code == 2
    assert run("parity").exit_code == 2
    assert not Path("x.xml").exists()


@pytest.mark.parametrize("option", ["--junit", "--summary"])
def test_a_report_that_cannot_be_written_is_told_before_the_work(
    option: str, run: Callable[..., Result], right: Path
) -> None:
    before = (right / "beamgen.json").read_bytes()
    for file, cause in (("right", "is a folder"), ("no/where.xml", "lies in no folder")):
        done = run("parity", "-m", right, option, file)
        assert done.exit_code == 1
        assert f"{option} {file} {cause}" in done.stderr
    assert (right / "beamgen.json").read_bytes() == before
    assert not Path("no").exists()


def test_what_a_link_or_a_device_is_stays_that(run: Callable[..., Result], right: Path) -> None:
    Path("target.xml").write_text("old")
    Path("link.xml").symlink_to("target.xml")
    reader = os.pipe()
    done = run(
        "parity", "-m", right, "--junit", "link.xml", "--summary", f"/proc/self/fd/{reader[1]}"
    )
    os.close(reader[1])
    assert done.exit_code == 0, done.output
    assert Path("link.xml").is_symlink()
    assert ElementTree.parse("target.xml").getroot().tag == "testsuites"
    assert "Parity of `right`: exact" in os.read(reader[0], 2**16).decode()
    os.close(reader[0])
    assert run("parity", "-m", right, "--junit", "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()


def test_a_summary_takes_names_that_are_markup(run: Callable[..., Result], right: Path) -> None:
    odd = right.with_name("odd|`<b>name")
    right.rename(odd)
    done = run("parity", "-m", odd, "--junit", "parity.xml", "--summary", "summary.md")
    assert done.exit_code == 0, done.output
    assert ElementTree.parse("parity.xml").getroot()[0].get("name") == "odd|`<b>name, quick grid"
    assert r"| package | ``odd\|`<b>name`` |" in Path("summary.md").read_text(encoding="utf-8")


def test_export_reports_its_proof_of_base_and_loras(
    run: Callable[..., Result], checkpoints: Callable[[str], Path], loras: Callable
) -> None:
    done = run(
        "export", "-m", checkpoints("gpt2"), "-o", "out", "--lora-slots", "--lora",
        loras("gpt2")["a"], "--junit", "parity.xml", "--summary", "summary.md",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    names = [suite.get("name") for suite in ElementTree.parse("parity.xml").getroot()]
    assert names == ["out, quick grid", "out with a, quick grid"]
    assert Path("summary.md").read_text(encoding="utf-8").count("## ✅ Parity of `out") == 2


def test_export_without_a_proof_has_nothing_to_report(run: Callable[..., Result]) -> None:
    done = run("export", "--model-class", "gpt2", "--no-parity", "--junit", "parity.xml")
    assert done.exit_code == 1
    assert "--no-parity leaves nothing to report" in done.stderr
    assert list(Path().iterdir()) == []
