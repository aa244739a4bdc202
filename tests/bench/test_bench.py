"""``beamgen bench``, end to end: every contestant for real, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.benches import INSTALLED, SMALL, changed_transformers, let_take_part, printed

from beamgen import CONTESTANTS, BeamgenError, bench
from beamgen.bench import worker
from beamgen.bench.discovery import contestants, preparations
from beamgen.cli import main

ROOT = Path(__file__).parents[2]


def test_contestants_agree(jobs_in_process, checkpoints, workdir: Path) -> None:
    """Five of them, end to end: files, searches, verdicts, figures."""
    lines: list[str] = []
    report = bench(
        checkpoints("gpt2"), against=INSTALLED, workdir=workdir, progress=lines.append, **SMALL
    )
    (result,) = report.results
    found = {row.contestant: (row.verdict, row.reason) for row in result.rows}
    assert found == dict.fromkeys(INSTALLED, ("same tokens", None))
    assert report.exit_code == 0
    for row in result.rows:
        assert row.equal_tokens == 5
        assert len(row.seconds) == len(row.first_seconds) == 2
        assert row.median == pytest.approx(sum(row.seconds) / 2)
        assert row.tokens_per_second == pytest.approx(5 / row.median)
        assert row.ms_per_step == pytest.approx(1000 * (row.median - row.first) / 4)
        assert row.floor_seconds == result.floor_seconds
        assert row.times_floor == pytest.approx(row.median / row.floor_seconds)
        assert row.file_bytes > 400_000
        assert row.peak_bytes > 10_000_000
        expected = result.row("beamgen").median / row.median
        assert result.times_as_fast(row, "beamgen") == pytest.approx(expected)
    assert any("preparing ortmodel" in line for line in lines)
    assert any(line == "turn 1 of 1: 6+5, genai" for line in lines)


@pytest.mark.parametrize("name", [name for name in CONTESTANTS if name not in INSTALLED])
def test_other_contestants_run_where_they_are_installed(
    name: str, jobs_in_process, checkpoints, workdir: Path
) -> None:
    if missing := contestants()[name].missing:
        pytest.skip(f"{name} needs {', '.join(missing)}")
    report = bench(checkpoints("gpt2"), against=[name], workdir=workdir, **SMALL)
    row = report.results[0].row(name)
    assert row.verdict in ("same tokens", "own weights", "own precision"), row.reason


@pytest.mark.slow
@pytest.mark.transformers_4
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of optimum's own export
def test_an_encoder_reads_the_prompts(
    jobs_in_process, checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marian's own settings force an EOS, which no contestant is asked for."""
    workdir = tmp_path / "work"
    ours = ["beamgen", "ortmodel"]
    report = bench(checkpoints("marian"), against=ours, workdir=workdir, batch_size=2, **SMALL)
    found = {row.contestant: (row.verdict, row.reason) for row in report.results[0].rows}
    assert found == dict.fromkeys(["transformers", *ours], ("same tokens", None))
    assert report.model["encoder_bytes"] > 0
    assert "of the encoder once" in printed(report)
    by_default = bench(checkpoints("marian"), workdir=workdir, **{**SMALL, "runs": 1})
    taking = [each.name for each in contestants().values() if each.encoders and not each.missing]
    assert [row.contestant for row in by_default.results[0].rows] == taking
    assert "beamgen-contrib" not in taking
    named = bench(checkpoints("marian"), against=["genai"], workdir=workdir, **SMALL)
    assert named.results[0].row("genai").reason == "it runs decoders alone"
    with pytest.raises(BeamgenError, match=r"6\+300 tokens are more than the 128 positions"):
        bench(checkpoints("marian"), workdir=workdir, **{**SMALL, "workloads": ["6+300"]})


@pytest.mark.filterwarnings("ignore:.*will take features only")
def test_an_encoder_hears_the_prompts(jobs_in_process, checkpoints, tmp_path: Path) -> None:
    whisper, workdir = checkpoints("whisper"), tmp_path / "work"
    asked = {**SMALL, "workdir": workdir, "batch_size": 2}
    with pytest.raises(BeamgenError, match="makes 20 positions of all it reads") as error:
        bench(whisper, **{**asked, "workloads": ["6+4"]})
    assert error.value.cure == "write 20+4"
    against = ["beamgen", "ortmodel"]
    report = bench(whisper, against=against, **{**asked, "workloads": ["20+4"]})
    (result,) = report.results
    assert result.row("beamgen").verdict == "same tokens"
    assert result.row("ortmodel").reason == "it runs models that read text alone"


@pytest.mark.transformers_4
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, each in contestants().items()
        if each.encoders and not each.ours and name not in INSTALLED
    ],
)
def test_other_contestants_run_encoder_decoders(
    name: str, jobs_in_process, checkpoints, tmp_path: Path
) -> None:
    if missing := contestants()[name].missing:
        pytest.skip(f"{name} needs {', '.join(missing)}")
    report = bench(checkpoints("t5"), against=[name], workdir=tmp_path / "work", **SMALL)
    row = report.results[0].row(name)
    assert row.verdict in ("same tokens", "own weights", "own precision"), row.reason


def test_who_is_not_comparable_gets_no_ratio(
    jobs_in_process, checkpoints, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last_changed(rows: Any, new: int) -> Any:
        return [[*row[:-1], row[-1] + 1] for row in rows]

    def fails(rows: Any, new: int) -> Any:
        raise MemoryError("no room for 5 beams\nand more lines")

    let_take_part(
        monkeypatch,
        changed_transformers("liar", last_changed),
        changed_transformers("crumb", last_changed, precision="int8"),
        changed_transformers("weakling", fails),
        replace(changed_transformers("absent", fails), requires=("no-such-package",)),
        replace(changed_transformers("unmade", fails), needs=("beamgen-contrib", "nothing")),
        replace(changed_transformers("ours", last_changed), ours=True),
    )
    monkeypatch.setattr(
        worker, "preparations", lambda: {**preparations(), "nothing": lambda *_: {}["a key"]}
    )
    names = ["liar", "crumb", "weakling", "absent", "unmade", "beamgen", "ours"]
    report = bench(checkpoints("gpt2"), against=names, workdir=workdir, **SMALL)
    (result,) = report.results
    assert [row.contestant for row in result.rows][:2] == ["transformers", "beamgen"]
    liar, crumb = result.row("liar"), result.row("crumb")
    assert (liar.verdict, liar.equal_tokens) == ("other tokens", 4)
    assert result.times_as_fast(liar, "transformers") is None
    assert liar.median is not None
    assert liar.times_floor is None
    assert crumb.verdict == "own weights"
    assert result.times_as_fast(crumb, "transformers") > 0
    assert result.row("weakling").verdict == "failed"
    assert result.row("weakling").reason == "MemoryError: no room for 5 beams"
    assert result.row("absent").reason == "pip install no-such-package"
    assert result.row("unmade").reason == "cannot prepare nothing: KeyError: 'a key'"
    assert report.exit_code == 3, "ours has other tokens"
    table = printed(report)
    assert f"({liar.median:.2f})" in table
    assert "weakling: failed: MemoryError" in table
    drawn = report.svg()
    assert "hollow: other tokens" in drawn
    assert "no room for 5 beams" in drawn


def test_transformers_has_to_run(
    jobs_in_process, checkpoints, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(rows: Any, new: int) -> Any:
        raise RuntimeError("no")

    let_take_part(monkeypatch, changed_transformers("transformers", fails))
    with pytest.raises(BeamgenError, match=r"the yardstick, failed at 6\+5: RuntimeError: no"):
        bench(checkpoints("gpt2"), against=["transformers"], workdir=workdir, **SMALL)
    torchless = replace(contestants()["transformers"], requires=("no-torch",))
    let_take_part(monkeypatch, torchless)
    with pytest.raises(BeamgenError, match="needs the package 'no-torch'"):
        bench(checkpoints("gpt2"), **SMALL)


@pytest.mark.parametrize(
    ("arguments", "cause", "cure"),
    [
        (["--against", "ctranslate"], "no contestant called 'ctranslate'", "ctranslate2"),
        (["--workload", "64"], "'64' is no workload", "64+64"),
        (["--prompt-tokens", "0"], "'0+64' is no workload", "64+64"),
        (["--workload", "8+8", "--new-tokens", "8"], "--workload says both", "leave out"),
        (["--turns", "0"], "turns is 0", "at least 1"),
        (["--threads", "0"], "threads is 0", "at least 1"),
        (["--shape", "gpt2", "-m", "somewhere"], "both a model and a shape", "leave out"),
        (["-o", "{there}"], "bench.json exists", "--force"),
    ],
)
def test_errors_are_two_lines(arguments: list[str], cause: str, cure: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").touch()
    result = CliRunner().invoke(main, ["bench", *[a.format(there=tmp_path) for a in arguments]])
    assert result.exit_code == 1
    error, fix = result.stderr.splitlines()
    assert cause in error
    assert cure in fix


def test_the_command_in_processes_of_its_own(checkpoints, workdir: Path, tmp_path: Path) -> None:
    """As a user calls it, on files that are there already."""
    arguments = ["--against", "beamgen", "--prompt-tokens", "6", "--new-tokens", "5"]
    arguments += ["--num-beams", "4", "--threads", "1", "--turns", "1", "--runs", "1"]
    command = [sys.executable, "-m", "beamgen", "bench", "-m", str(checkpoints("gpt2"))]
    result = subprocess.run(
        [*command, *arguments, "--workdir", str(workdir), "-o", str(tmp_path), "--json"],
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)["workloads"][0]["rows"]
    assert [(row["contestant"], row["verdict"]) for row in rows] == [
        ("transformers", "same tokens"),
        ("beamgen", "same tokens"),
    ]
    # each process counts its own memory: this one has no torch in it
    assert rows[1]["peak_bytes"] < rows[0]["peak_bytes"] / 2
    assert json.loads((tmp_path / "bench.json").read_text()) == json.loads(result.stdout)
