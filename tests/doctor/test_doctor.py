"""What the doctor finds, and what it makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import CliRunner

import beamgen
from beamgen import Package
from beamgen.cli import main
from beamgen.doctor import doctor as module
from beamgen.doctor import instructions
from beamgen.doctor.diagnosis import Level
from beamgen.doctor.instructions import instruction_findings
from beamgen.errors import extras
from beamgen.quantization.record import Precision
from beamgen.runtime import memory
from beamgen.runtime.footprint import peak_bytes, search_bytes

GIB = 1 << 30


def test_what_is_here() -> None:
    found = beamgen.doctor()
    assert found.versions["onnxruntime"]
    assert found.machine["cpu"]
    assert found.threads == found.machine["cores"] >= 1
    assert "CPUExecutionProvider" in found.providers
    assert found.need is None
    names = {extra.name for extra in found.extras}
    assert {"batch", "export", "ray"} <= names
    assert not names & {"dev", "docs"}
    levels = [finding.level for finding in found.findings]
    assert levels == sorted(levels, key=list(reversed(Level)).index), "problems come first"


def test_a_package_that_has_room(packages: Callable[[str], Package]) -> None:
    package = packages("gpt2")
    found = beamgen.doctor(package, rows=3, prompt_tokens=20, num_beams=4, max_new_tokens=9)
    need = found.need
    assert need is not None
    assert (need.rows, need.prompt_tokens, need.num_beams, need.new_tokens) == (3, 20, 4, 9)
    config = package.manifest.search.with_overrides({"num_beams": 4, "max_new_tokens": 9})
    assert need.search == search_bytes(package, 3, 20, config.for_prompt(20))
    assert need.peak == peak_bytes(package, need.search)
    assert any(f.level is Level.GOOD and str(package.folder) in f.what for f in found.findings)


def test_a_package_that_has_none(
    packages: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = packages("gpt2")
    for free, cure in ((200 << 20, "search "), (1 << 20, "free memory, or export")):
        monkeypatch.setattr(module, "free_bytes", lambda free=free: free)
        found = beamgen.doctor(package, rows=100_000, prompt_tokens=200)
        assert not found.is_well
        problem = found.findings[0]
        assert problem.level is Level.PROBLEM
        assert f"{free:,} bytes" in problem.what
        assert (problem.cure or "").startswith(cure)
    assert found.need is not None and found.need.most_rows == 0  # noqa: PT018 # one thing
    monkeypatch.setattr(module, "free_bytes", lambda: 200 << 20)
    most = beamgen.doctor(package, prompt_tokens=200).need.most_rows  # type: ignore[union-attr]
    assert most is not None
    assert beamgen.doctor(package, rows=most, prompt_tokens=200).is_well
    assert not beamgen.doctor(package, rows=most + 1, prompt_tokens=200).is_well


def test_the_same_estimate_is_what_generate_refuses_by(
    packages: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    need = beamgen.doctor(packages("gpt2"), rows=2, prompt_tokens=90, max_new_tokens=8).need
    assert need is not None
    monkeypatch.setattr(memory, "free_bytes", lambda: need.search // 2)
    generator = beamgen.Generator(packages("gpt2"))
    with pytest.raises(beamgen.BeamgenError, match=f"about {need.search:,} bytes"):
        generator.generate([[5] * 90] * 2, max_new_tokens=8)


@pytest.mark.parametrize(
    ("flags", "saturates", "told"),
    [
        ({"avx2": True, "avx512": True, "vnni": True, "bf16": True}, False,
         ["fp32: AVX-512", "int8: VNNI", "bf16"]),
        ({"avx2": True, "avx512": False, "vnni": False, "bf16": False}, True,
         ["fp32: AVX2", "int8: no VNNI, so signed weights (s8) overflow"]),
        ({"avx2": False, "avx512": False, "vnni": False, "bf16": False}, False,
         ["fp32: neither", "int8: signed and unsigned"]),
        ({"avx2": None, "avx512": None, "vnni": None, "bf16": None}, False,
         ["does not tell", "int8: signed and unsigned"]),
    ],
)  # fmt: skip
def test_what_instructions_mean(
    flags: dict[str, bool | None],
    saturates: bool,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(instructions, "saturates", lambda: saturates)
    found = list(instruction_findings(flags, None))
    assert len(found) == len(told)
    assert all(words in finding.what for words, finding in zip(told, found, strict=True))


def test_signed_weights_where_they_overflow_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "inexact", lambda weights: f"{weights} is wrong here")
    found = next(instruction_findings({}, Precision("int8", "int8")))
    assert found.level is Level.PROBLEM
    assert "--int8-weights u8" in (found.cure or "")


def test_missing_extras_come_with_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    there = module.version
    monkeypatch.setattr(module, "version", lambda name: None if name == "ray" else there(name))
    found = beamgen.doctor()
    (finding,) = [f for f in found.findings if f.what.startswith("[ray]")]
    assert "ray" in finding.what
    assert finding.cure == "pip install 'beamgen[ray]'"


def test_extras_are_read_from_the_installed_distribution() -> None:
    assert "torch" in extras()["export"]
    assert extras()["batch"] == ["pyarrow"]


def test_small_limits_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"RLIMIT_NOFILE": 64, "RLIMIT_FSIZE": 5 * GIB}
    monkeypatch.setattr(module, "_soft_limit", lambda name: limits[name])
    told = [finding.what for finding in beamgen.doctor().findings]
    assert "only 64 files may be open at a time" in told
    assert any(line.startswith("files may have 5,368,709,120 bytes") for line in told)


def test_the_command(packages: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(packages("gpt2").folder)
    told = CliRunner().invoke(main, ["doctor", "-m", folder])
    assert told.exit_code == 0, told.output
    assert "processor" in told.output
    assert "int8: " in told.output
    values = json.loads(CliRunner().invoke(main, ["doctor", "-m", folder, "--json"]).stdout)
    assert values["is_well"] is True
    assert values["need"]["folder"] == folder
    monkeypatch.setattr(module, "free_bytes", lambda: 5)
    starved = CliRunner().invoke(main, ["doctor", "-m", folder, "--json"])
    assert starved.exit_code == 1
    assert json.loads(starved.stdout)["findings"][0]["level"] == "problem"


def test_what_a_system_does_not_tell(
    packages: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda: None)
    found = beamgen.doctor(packages("gpt2"))
    assert found.need == replace(found.need, most_rows=None)  # type: ignore[type-var]
    assert any("this system does not tell" in finding.what for finding in found.findings)
