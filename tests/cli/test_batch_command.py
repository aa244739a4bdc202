"""``beamgen batch`` as it is typed."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from support.batches import read_jsonl, token_rows, write_jsonl

import beamgen
from beamgen import Package
from beamgen.cli import batch as command
from beamgen.cli import main

OPTIONS = ["--column", "ids", "--processes", "1", "--max-new-tokens", "4"]


def _run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, ["batch", *map(str, arguments)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "prompts.jsonl", [*token_rows(6, 90), {"ids": []}])


def test_it_tells_what_it_did(
    source: Path, packages: Callable[[str], Package], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = _run("-m", packages("gpt2").folder, "-i", source, "-o", out, *OPTIONS)
    assert told.exit_code == 0, told.output
    assert f"{out / 'results.jsonl'}: 6 rows" in told.stdout
    assert f"{out / 'failed.jsonl'}: 1 rows that could not be searched" in told.stdout
    assert "7 rows in 0:0" in told.stdout
    assert "7 rows, 1 process of " in told.stderr
    again = _run("-m", packages("gpt2").folder, "-i", source, "-o", out, *OPTIONS)
    assert "it was done before" in again.stdout
    values = json.loads(
        _run("-m", packages("gpt2").folder, "-i", source, "-o", out, *OPTIONS, "--json").stdout
    )
    assert values["answered_rows"] == 6
    assert values["resumed_rows"] == 7


def test_settings_are_those_of_generate(
    source: Path, packages: Callable[[str], Package], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("5 9 7\n5 8\n")
    told = _run(
        "-m", packages("gpt2").folder, "-i", source, "-o", tmp_path / "out", *OPTIONS,
        "--num-beams", "3", "--num-return-sequences", "2", "--set", "output_scores=true",
        "--catalogue", labels,
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    for row in read_jsonl(tmp_path / "out" / "results.jsonl"):
        assert {tuple(h["token_ids"][:2]) for h in row["hypotheses"]} == {(5, 9), (5, 8)}
        assert all(len(h["token_log_probs"]) == len(h["token_ids"]) for h in row["hypotheses"])


def test_no_row_at_all_is_a_failure(packages: Callable[[str], Package], tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "prompts.jsonl", [{"ids": []}, {"ids": None}])
    told = _run("-m", packages("gpt2").folder, "-i", source, "-o", tmp_path / "out", *OPTIONS)
    assert told.exit_code == 1
    assert "none of 2 rows could be searched" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--num-beams", "0"], "num_beams must be a whole number of at least 1"),
        (["--seed", "3"], "seed would change nothing"),
        (["--lora", "drugs"], "has no slots for LoRAs"),
        (["--memory", "plenty"], "'plenty' is no size such as 512M or 2G"),
        (["--column", "text"], "has no column 'text': it has id, ids"),
        (["--set", "max_time=3"], "max_time"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(
    arguments: list[str],
    cause: str,
    source: Path,
    packages: Callable[[str], Package],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    told = _run("-m", packages("gpt2").folder, "-i", source, "-o", out, *OPTIONS, *arguments)
    assert told.exit_code in (1, 2)
    assert cause in told.stderr
    assert "Traceback" not in told.output
    assert not out.exists()


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, highlight=False)
    monkeypatch.setattr(command, "ERR", console)
    with command._shown() as tell:
        for done in (0, 40, 100):
            tell(
                beamgen.BatchProgress(
                    "searching", 100, done, 3 if done else 0, 0, 9, 4.0, "2 processes", ("seed",)
                )
            )
    shown = screen.getvalue()
    assert "100 rows, 2 processes; settings from columns: seed" in shown
    assert "100/100" in shown
    assert "25.0 rows/s" in shown
    assert "3 failed" in shown


def test_a_line_a_minute_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: now[0])
    tell = command._Lines()
    for second in range(0, 150, 10):
        now[0] = float(second)
        tell(beamgen.BatchProgress("searching", 1000, second, 1, 0, 9, float(second), "Ray"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "1,000 rows, Ray",
        "60 of 1,000 rows, 1 failed, 1.0 rows/s, 15:40 left",
        "120 of 1,000 rows, 1 failed, 1.0 rows/s, 14:40 left",
    ]


_ON_A_FULL_DISK = """
import builtins, errno, sys
from pathlib import Path
from beamgen import disk
from beamgen.batch import collect
from beamgen.batch.reading import rows
from beamgen.cli import main
rows.WINDOW_ROWS = 4
replacing, written = disk.replacing, [0]
from beamgen.batch import folder
def full(path):
    if path.parent.name == "shards":
        written[0] += 1
        if written[0] > 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
    return replacing(path)
if sys.argv.pop(1) == "full":
    folder.replacing = full
main()
"""


def test_a_full_disk_costs_no_row(packages: Callable[[str], Package], tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "prompts.jsonl", token_rows(12, 90))
    arguments = ["batch", "-m", str(packages("gpt2").folder), "-i", str(source),
                 "-o", str(tmp_path / "out"), *OPTIONS]  # fmt: skip

    def run(disk: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _ON_A_FULL_DISK, disk, *arguments]
        return subprocess.run(command, text=True, capture_output=True, env=os.environ)

    first = run("full")
    assert first.returncode == 1
    assert f"cannot write into {tmp_path / 'out'}: {os.strerror(errno.ENOSPC)}" in first.stderr
    assert "free space, and run the same command again" in first.stderr
    assert [path.name for path in (tmp_path / "out" / "shards").iterdir()] == ["00000000.jsonl"]
    second = run("empty")
    assert second.returncode == 0, second.stderr
    assert "4 by earlier runs" in second.stdout
    assert len(read_jsonl(tmp_path / "out" / "results.jsonl")) == 12


#: A disk of its own, which grows once it is full. Nothing of it is left, whatever happens.
_ON_A_SMALL_DISK = """
mount -t tmpfs -o size=400k tmpfs disk
"$@"; echo "exit code $?"
ls disk/out/shards
mount -o remount,size=16m disk
"$@"; echo "exit code $?"
cp disk/out/results.jsonl .
"""


@pytest.mark.slow
def test_a_small_disk_costs_no_row(packages: Callable[[str], Package], tmp_path: Path) -> None:
    if not shutil.which("unshare") or subprocess.call(["unshare", "-rm", "true"]):
        pytest.skip("no disk may be mounted here")
    rows = token_rows(3000, 90)
    source = write_jsonl(tmp_path / "prompts.jsonl", rows)
    (tmp_path / "disk").mkdir()
    command = [sys.executable, "-m", "beamgen", "batch", "-m", str(packages("gpt2").folder),
               "-i", str(source), *OPTIONS, "-o"]  # fmt: skip
    told = subprocess.run(
        ["unshare", "-rm", "sh", "-c", _ON_A_SMALL_DISK, "sh", *command, "disk/out"],
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert f"cannot write into disk/out: {os.strerror(errno.ENOSPC)}" in told.stderr, told
    lines = told.stdout.splitlines()
    assert lines[:2] == ["exit code 1", "00000000.jsonl"]
    assert lines[-1] == "exit code 0"
    assert "2,048 by earlier runs" in told.stdout
    plain = subprocess.run([*command, str(tmp_path / "plain")], capture_output=True, cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    whole = (tmp_path / "plain" / "results.jsonl").read_bytes()
    assert (tmp_path / "results.jsonl").read_bytes() == whole
    assert [row["id"] for row in read_jsonl(tmp_path / "results.jsonl")] == list(range(3000))
