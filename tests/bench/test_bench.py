"""``beamgen bench``: who is believed, what is computed, and every contestant for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.architectures import ARCHITECTURES

from beamgen import CONTESTANTS, BeamgenError, BenchReport, adapters, bench, find_adapter
from beamgen.bench import race, worker
from beamgen.bench.contestants import Contestant, contestants, preparations
from beamgen.bench.floor import cache_bytes, floor_seconds, measure_bandwidth, read_weights
from beamgen.bench.machine import describe_machine
from beamgen.bench.processes import checked, crash, run_job
from beamgen.bench.report import judge
from beamgen.bench.shapes import find_shape, random_checkpoint, shapes
from beamgen.bench.workload import Task, Workload
from beamgen.bench.workspace import Workspace
from beamgen.cli import main
from beamgen.testing import tiny_model

ROOT = Path(__file__).parents[2]
#: What the tests' environment brings; the others are run where somebody installed them.
INSTALLED = ("transformers", "beamgen", "beamgen-contrib", "ortmodel", "genai")
SMALL = {"workloads": ["6+5"], "num_beams": 4, "threads": 1, "turns": 1, "runs": 2}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every job in this process, through the same JSON; and a list of those that ran."""
    asked = []

    def run(job: str, threads: int, timeout: float, **request: Any) -> dict[str, Any]:
        asked.append({"job": job, **request})
        if job == "bandwidth":
            return {"bandwidth": 1e9 * len(asked)}
        return checked(json.loads(json.dumps(worker.answer(json.loads(json.dumps(asked[-1]))))))

    monkeypatch.setattr(race, "run_job", run)
    return asked


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of the tiny model are made once."""
    return tmp_path_factory.mktemp("bench") / "work"


def _with(monkeypatch: pytest.MonkeyPatch, *others: Contestant) -> None:
    both = {**contestants(), **{each.name: each for each in others}}
    monkeypatch.setattr(race, "contestants", lambda: both)
    monkeypatch.setattr(worker, "contestants", lambda: both)


def _another(name: str, change: Callable[[Any, int], Any], **values: Any) -> Contestant:
    """transformers, with its tokens changed."""

    def load(workspace: Workspace, task: Task) -> Callable[..., Any]:
        search = contestants()["transformers"].load(workspace, task)
        return lambda ids, new: change(search(ids, new), new)

    return Contestant(name, load, (), (), **values)


def test_the_floor_is_the_sum_over_steps() -> None:
    # 3 steps of 1000 bytes; 2 rows whose cache is 10, 11, then 12 tokens of 8 bytes
    task = Task(prompt_tokens=10, new_tokens=3, num_beams=5, batch_size=2, threads=1)
    assert floor_seconds(1000, 8, task, 100.0) == (3 * 1000 + 2 * 8 * (10 + 11 + 12)) / 100


def test_a_token_s_cache_is_two_vectors_per_layer_and_head() -> None:
    adapter = find_adapter("phi3")
    geometry = adapter.kv_geometry(adapter.tiny_config())
    assert cache_bytes(geometry) == 2 * 2 * 2 * 16 * 4  # K and V, L, Hkv, D, bytes


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tables_that_a_step_gathers_from_are_not_read(name: str) -> None:
    config = find_adapter(name).tiny_config()
    model = tiny_model(config)
    everything = sum(parameter.numel() for parameter in model.parameters())
    tables = {
        "gpt2": lambda: model.transformer.wpe.weight.numel(),
        "biogpt": lambda: model.biogpt.embed_positions.weight.numel(),
        "phi3": lambda: model.model.embed_tokens.weight.numel(),  # untied
    }[name]()
    assert read_weights(model) == 4 * (everything - tables)


def test_the_bandwidth_is_a_machine_s() -> None:
    assert 1e8 < measure_bandwidth(1, buffer_bytes=1 << 24) < 1e13


def test_no_prompt_comes_twice_nor_holds_a_special_id() -> None:
    task = Task(200, 5, num_beams=2, batch_size=3, threads=1)
    first, again, other = (task.prompt(run, 20, [0, 7]) for run in (1, 1, 2))
    assert first.shape == (3, 200)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, replace(task, seed=1).prompt(1, 20, [0, 7]))
    assert set(np.unique(first)) == set(range(3, 20)) - {7}


def test_a_workload_is_two_numbers() -> None:
    assert Workload.parse(" 64 + 256") == Workload(64, 256)
    assert str(Workload(64, 256)) == "64+256"
    for text in ("64", "64+", "0+5", "5+0", "a+b", "-1+4", "64+64+64"):
        with pytest.raises(BeamgenError, match="is no workload"):
            Workload.parse(text)


@pytest.mark.parametrize(
    ("precision", "found", "verdict"),
    [
        ("float32", [[[[1, 2, 3]]]] * 2, ("same tokens", 3)),
        ("float32", [[[[1, 2, 4]]]] * 2, ("other tokens", 2)),
        ("float32", [[[[1, 2]]]] * 2, ("other tokens", 2)),
        ("float32", [[[[1, 2, 3]]], [[[1, 9, 3]]]], ("unsteady tokens", 1)),
        ("int8", [[[[9, 2, 3]]]] * 2, ("own weights", 0)),
        ("int8", [[[[9, 2, 3]]], [[[9, 2, 4]]]], ("unsteady tokens", 0)),
        ("int4", [[[[1, 2, 3]]]], ("own weights", 3)),
        ("default", [[[[1, 2, 4]]]], ("own precision", 2)),
    ],
)
def test_who_is_believed(precision: str, found: Any, verdict: tuple[str, int]) -> None:
    assert judge(precision, found, [[[1, 2, 3]]]) == verdict


def test_every_contestant_has_its_preparations() -> None:
    assert CONTESTANTS[0] == "transformers"
    assert set(INSTALLED) <= set(CONTESTANTS)
    for contestant in contestants().values():
        assert set(contestant.needs) <= set(preparations())
        assert contestant.requires


def test_shapes_are_those_of_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(shapes()) == {each.name for each in adapters() if each.full_config() is not None}
    assert set(ARCHITECTURES) <= set(shapes())
    assert find_shape(None).name == "gpt2", "the smallest"
    with pytest.raises(BeamgenError, match="did you mean gpt2"):
        find_shape("gpt-2")
    adapter = find_adapter("gpt2")
    monkeypatch.setattr(type(adapter), "full_config", lambda self: self.tiny_config())
    one, two = (random_checkpoint(adapter, tmp_path / name) for name in ("one", "two"))
    weights = [(folder / "model.safetensors").read_bytes() for folder in (one, two)]
    assert weights[0] == weights[1], "seeded"


def test_contestants_agree(at_once, checkpoints, workdir: Path) -> None:
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
        assert result.speed(row, "beamgen") == pytest.approx(expected)
    assert any("preparing ortmodel" in line for line in lines)
    assert any(line == "turn 1 of 1: 6+5, genai" for line in lines)


@pytest.mark.parametrize("name", [name for name in CONTESTANTS if name not in INSTALLED])
def test_other_contestants_run_where_they_are_installed(
    name: str, at_once, checkpoints, workdir: Path
) -> None:
    if missing := contestants()[name].missing:
        pytest.skip(f"{name} needs {', '.join(missing)}")
    report = bench(checkpoints("gpt2"), against=[name], workdir=workdir, **SMALL)
    row = report.results[0].row(name)
    assert row.verdict in ("same tokens", "own weights", "own precision"), row.reason


def test_who_is_not_believed_gets_no_ratio(
    at_once, checkpoints, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last_changed(rows: Any, new: int) -> Any:
        return [[*row[:-1], row[-1] + 1] for row in rows]

    def fails(rows: Any, new: int) -> Any:
        raise MemoryError("no room for 5 beams\nand more lines")

    _with(
        monkeypatch,
        _another("liar", last_changed),
        _another("crumb", last_changed, precision="int8"),
        _another("weakling", fails),
        replace(_another("absent", fails), requires=("no-such-package",)),
        replace(_another("unmade", fails), needs=("beamgen-contrib", "nothing")),
        replace(_another("ours", last_changed), ours=True),
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
    assert result.speed(liar, "transformers") is None
    assert liar.median is not None
    assert liar.times_floor is None
    assert crumb.verdict == "own weights"
    assert result.speed(crumb, "transformers") > 0
    assert result.row("weakling").verdict == "failed"
    assert result.row("weakling").reason == "MemoryError: no room for 5 beams"
    assert result.row("absent").reason == "pip install no-such-package"
    assert result.row("unmade").reason == "cannot prepare nothing: KeyError: 'a key'"
    assert report.exit_code == 3, "ours has other tokens"
    table = _table(report)
    assert f"({liar.median:.2f})" in table
    assert "weakling: failed: MemoryError" in table
    drawn = report.svg()
    assert "hollow: other tokens" in drawn
    assert "no room for 5 beams" in drawn


def _table(report: BenchReport) -> str:
    """What the command prints of a report."""
    from beamgen.cli import bench as cli

    runner, found = CliRunner(), SimpleNamespace(bench=lambda **_: report)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.beamgen, "bench", found.bench, raising=False)
        result = runner.invoke(main, ["bench"])
    assert result.exit_code == report.exit_code, result.output
    return result.output


def test_turns_begin_with_another(
    at_once, checkpoints, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = [_another(name, lambda rows, new: rows) for name in ("one", "two")]
    _with(monkeypatch, *same)
    settings = {**SMALL, "workloads": ["6+5", "3+2", "6+5"], "turns": 4, "runs": 1}
    report = bench(checkpoints("gpt2"), against=["one", "two"], workdir=workdir, **settings)
    ran = [asked["contestant"] for asked in at_once if asked["job"] == "search"]
    order = ["transformers", "one", "two"]
    orders = [order, [*order[1:], order[0]], [order[2], *order[:2]], order]
    assert ran == [name for turn in orders for _ in range(2) for name in turn]
    assert [str(result.workload) for result in report.results] == ["6+5", "3+2"]
    assert len(report.results[1].row("two").seconds) == 4
    assert len(report.bandwidths) == 4
    assert "prepare" not in {asked["job"] for asked in at_once}, "what is there is used again"


def test_the_json_says_all(at_once, checkpoints, tmp_path: Path) -> None:
    report = bench(checkpoints("phi3"), against=["transformers"], command=["x", "y"], **SMALL)
    written = report.write(tmp_path / "new")
    assert [path.name for path in written] == ["bench.json", "bench.svg"]
    told = json.loads(written[0].read_text())
    assert told["schema"] == 1
    assert told["bandwidth"]["doubted"] is report.floor_doubted is False
    slow = replace(report.results[0].rows[0], floor_seconds=1e6)
    doubted = replace(report, results=(replace(report.results[0], rows=(slow,)),))
    assert doubted.floor_doubted
    assert "below the floor" in _table(doubted)
    assert told["command"] == ["x", "y"]
    assert told["machine"]["cores"] >= 1
    assert set(told["machine"]["flags"]) == {"avx2", "avx512", "vnni", "bf16", "amx"}
    assert told["settings"]["threads"] == 1
    assert told["model"]["cache_bytes_per_token"] == 2 * 2 * 2 * 16 * 4
    assert {"python", "beamgen", "onnxruntime", "ctranslate2"} <= told["versions"].keys()
    (work,) = told["workloads"]
    assert (work["prompt_tokens"], work["new_tokens"]) == (6, 5)
    (row,) = work["rows"]
    assert row["times_transformers"] == 1.0
    assert row["times_beamgen"] is None
    assert row["min_seconds"] <= row["median_seconds"] <= row["max_seconds"]
    assert None not in (row["first_token_seconds"], row["peak_bytes"], row["load_seconds"])
    picture = ElementTree.fromstring(written[1].read_text())
    assert picture.get("width") == "800"
    bars = list(picture.iter("{http://www.w3.org/2000/svg}g"))
    assert len(bars) == 1


def test_a_workdir_is_of_one_model(at_once, checkpoints, workdir: Path, tmp_path: Path) -> None:
    bench(checkpoints("gpt2"), against=["transformers"], workdir=workdir, **SMALL)
    with pytest.raises(BeamgenError, match="files of another model"):
        bench(checkpoints("phi3"), workdir=workdir, **SMALL)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(BeamgenError, match="holds something else"):
        bench(checkpoints("gpt2"), workdir=tmp_path, **SMALL)


def test_transformers_has_to_run(
    at_once, checkpoints, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(rows: Any, new: int) -> Any:
        raise RuntimeError("no")

    _with(monkeypatch, _another("transformers", fails))
    with pytest.raises(BeamgenError, match=r"the yardstick, failed at 6\+5: RuntimeError: no"):
        bench(checkpoints("gpt2"), against=["transformers"], workdir=workdir, **SMALL)
    torchless = replace(contestants()["transformers"], requires=("no-torch",))
    _with(monkeypatch, torchless)
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


def test_a_model_may_be_too_short(at_once, checkpoints) -> None:
    with pytest.raises(BeamgenError, match=r"250\+10 tokens are more than the 256 positions"):
        bench(checkpoints("gpt2"), against=["transformers"], **{**SMALL, "workloads": ["250+10"]})


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="TypeError: bandwidth"):
        run_job("bandwidth", 1, 60.0, colour="red")
    with pytest.raises(BeamgenError, match=r"gave no answer in 0\.01 s"):
        run_job("bandwidth", 1, 0.01, readers=1)
    log = tmp_path / "log"
    log.write_text("loading\nout of luck\n")
    assert crash(-9, log) == "killed by SIGKILL, as when memory runs out: out of luck"
    assert crash(1, log) == "ended with exit code 1: out of luck"


def test_the_machine_is_known() -> None:
    assert describe_machine()["cpu"]


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
