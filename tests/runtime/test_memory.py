"""What does not fit is told beforehand, and where memory runs out all the same, in two lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from beamgen import BeamgenError, Generator, KVGeometry, Package
from beamgen.errors import PromptError
from beamgen.runtime import memory
from beamgen.runtime.footprint import loaded_bytes, peak_bytes, search_bytes
from beamgen.runtime.generator import check_memory
from beamgen.settings.config import ResolvedSearch

GIB = 2**30


def _config(package: Package, **settings: object) -> ResolvedSearch:
    return package.manifest.search.with_overrides(settings).for_prompt(10)


def _search(package: Package, rows: int, prompt_len: int, **settings: object) -> int:
    settings = {"num_beams": 5, "max_new_tokens": 8, **settings}
    return search_bytes(package, rows, prompt_len, _config(package, **settings))


def test_the_cache_is_held_twice(packages: Callable[[str], Package]) -> None:
    """The tiny Phi-3: two layers, two heads of 16, keys and values of 4 bytes, 64 wide."""
    package = packages("phi3")
    assert package.manifest.cache == KVGeometry(2, 2, 16)
    entry = 2 * 2 * 2 * 16 * 4
    logits = 3 * 5 * 96 * 4
    held = 3 * 1000 * entry
    # the first compaction, or the prompt's pass: its own cache, layers, and scores of a piece
    layers, scores = 3 * 1000 * (4 * 64 + 2 * 128) * 4, 3 * 4 * 512 * 1000 * 4
    at_prompt = int(1.3 * (held + layers + scores))
    assert _search(package, 3, 1000) == max(2 * held + logits, at_prompt) == at_prompt
    # of a short prompt the logits are more, and what each beam adds before the first compaction
    entries = 8 * 500 * entry
    assert _search(package, 1, 10, num_beams=500) == int(
        1.3 * 10 * entry + 2.8 * entries + 5 * 500 * 96 * 4
    )


def test_what_grows_the_estimate(packages: Callable[[str], Package]) -> None:
    package = packages("gpt2")
    one = _search(package, 1, 20, max_new_tokens=20)
    assert _search(package, 2, 20, max_new_tokens=20) == pytest.approx(2 * one, abs=2)
    assert _search(package, 1, 40, max_new_tokens=20) > one
    assert _search(package, 1, 20, max_new_tokens=40) > one
    assert _search(package, 1, 20, num_beams=6, max_new_tokens=20) > one
    drawn = _search(
        package, 1, 20, num_beams=1, do_sample=True, num_return_sequences=5, max_new_tokens=20
    )
    assert drawn == one, "so many chains are as many beams"


def test_a_window_bounds_the_cache(packages: Callable[[str], Package]) -> None:
    package = packages("phi3")
    limits = replace(package.manifest.limits, attention_window=100)
    windowed = replace(package, manifest=replace(package.manifest, limits=limits))
    saved = int(1.3 * 900 * 512)
    assert _search(windowed, 1, 1000) == pytest.approx(_search(package, 1, 1000) - saved, abs=2)


def test_an_operator_holds_the_scores_of_the_prompt(contrib: Callable[..., Package]) -> None:
    """The tiny GPT-2: two layers, four heads of 16."""
    entry = 2 * 2 * 4 * 16 * 4
    assert _search(contrib("gpt2"), 1, 5000) == 5000 * entry + 4 * 5000**2 * 4
    grown = 2 * 2 * 5 * (10 + 8) * entry
    assert _search(contrib("gpt2"), 2, 10) == grown + 5 * 2 * 5 * 96 * 4


def test_a_file_that_does_not_tell_counts_its_logits(packages: Callable[[str], Package]) -> None:
    """beamgen 0.1 did not write the shape of the cache."""
    package = packages("phi3")
    untold = replace(package, manifest=replace(package.manifest, cache=None))
    assert _search(untold, 100, 10**6) == 5 * 100 * 5 * 96 * 4


def test_what_a_process_holds(packages: Callable[[str], Package]) -> None:
    package = packages("phi3")
    size = package.model.stat().st_size
    assert loaded_bytes(package) == int((80 << 20) + 2 * size)
    assert peak_bytes(package, 0) == loaded_bytes(package) + (22 << 20)
    assert peak_bytes(package, GIB) == peak_bytes(package, 0) + GIB


def test_mapped_weights_are_held_once(packages: Callable[[str], Package]) -> None:
    package = packages("phi3")
    files = {**package.manifest.files, "model.onnx.data": {"bytes": GIB}}
    mapped = replace(package, manifest=replace(package.manifest, files=files))
    size = package.model.stat().st_size + GIB
    assert loaded_bytes(mapped) == int((80 << 20) + 1.15 * size)
    assert peak_bytes(mapped, 0) == int((80 << 20) + 1.35 * size), "while it is loaded"
    assert peak_bytes(mapped, GIB) == loaded_bytes(mapped) + (22 << 20) + GIB


def test_more_than_is_free_is_refused_with_the_bytes(
    generators: Callable[[str], Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By more than the estimate may be wrong."""
    generator = Generator(generators("phi3").package, session=generators("phi3").session)
    needed = _search(generator.package, 1, 100)
    monkeypatch.setattr(memory, "free_bytes", lambda: int(0.79 * needed))
    with pytest.raises(PromptError) as error:
        generator.generate([[5] * 100], num_beams=5, max_new_tokens=8)
    assert f"about {needed:,} bytes (0.0 GiB)" in error.value.cause
    assert f"{int(0.79 * needed):,} bytes" in error.value.cause
    assert "shorter prompts" in error.value.cure
    generator.generate([[5] * 90], num_beams=5, max_new_tokens=8)  # the cure
    monkeypatch.setattr(memory, "free_bytes", lambda: int(0.81 * needed))
    generator.generate([[5] * 100], num_beams=5, max_new_tokens=8)


def test_memory_that_a_search_left_behind_is_there_for_the_next(
    generators: Callable[[str], Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime keeps it, so that the system does not count it as free."""
    generator = Generator(generators("phi3").package, session=generators("phi3").session)
    generator.generate([[5] * 100], num_beams=5, max_new_tokens=8)
    monkeypatch.setattr(memory, "free_bytes", lambda: 0)
    generator.generate([[5] * 100], num_beams=5, max_new_tokens=8)
    with pytest.raises(PromptError, match="this search takes about"):
        generator.generate([[5] * 101], num_beams=5, max_new_tokens=8)


def test_what_is_unknown_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    check_memory(2**60)


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_control_groups_of_version_2(tmp_path: Path) -> None:
    """A group has what its limit leaves, and the files that it may drop; so have those above."""
    root = tmp_path / "cgroup"
    own = _write(tmp_path, own="0::/above/this\n") / "own"
    _write(root / "above", memory__max=f"{4 * GIB}\n", memory__current=f"{3 * GIB}\n")
    _write(root / "above" / "this", memory__max=f"{2 * GIB}", memory__current=f"{GIB}")
    _write(root / "above" / "this", memory__stat=f"anon 5\ninactive_file {GIB // 2}\n")
    assert list(memory._of_groups(own, root)) == [3 * GIB // 2, GIB]
    _write(root / "above" / "this", memory__max="max\n")
    assert list(memory._of_groups(own, root)) == [GIB]


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    own = _write(tmp_path, own="12:cpu,cpuacct:/x\n4:memory:/docker/ab\n0::/\n") / "own"
    folder = _write(root / "memory" / "docker" / "ab", memory__limit_in_bytes="1000")
    _write(folder, memory__usage_in_bytes="900", memory__stat="total_inactive_file 50\n")
    assert list(memory._of_groups(own, root)) == [150]


def test_the_machine(tmp_path: Path) -> None:
    text = "MemTotal: 9 kB\nMemAvailable:   7 kB\nSwapFree: 2 kB\n"
    assert list(memory._of_machine(_write(tmp_path, own=text) / "own")) == [9 * 1024]
    assert list(memory._of_machine(tmp_path / "missing")) == []


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : ... AllocateRawInternal(size_t, bool) Failed to "
            "allocate memory for requested buffer of size 8589934592",
            "memory ran out in the search: 8,589,934,592 bytes (8.0 GiB) more were asked for",
        ),
        ("std::bad_alloc", "memory ran out in the search"),
        ("bad allocation", "memory ran out in the search"),
    ],
)
def test_how_libraries_say_that_memory_ran_out(message: str, told: str) -> None:
    found = memory.ran_out(RuntimeError(message))
    assert found is not None
    assert found.cause == told


def test_other_errors_are_none_of_memory() -> None:
    assert memory.ran_out(RuntimeError("indices element out of data bounds")) is None
    assert memory.ran_out(MemoryError()) is not None


_STARVED = """
import json, resource, sys
from beamgen import BeamgenError, Generator
from beamgen.runtime import memory
memory.free_bytes = lambda: None
generator = Generator(sys.argv[1], threads=1)
size = int(next(line for line in open("/proc/self/status") if "VmSize" in line).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + 60 * 2**20,) * 2)
try:
    generator.generate([[5] * 200] * 200, num_beams=5, max_new_tokens=8)
except BeamgenError as error:
    print(json.dumps([type(error).__name__, error.cause, error.cure]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.parametrize("backend", ["loop", "contrib"])
def test_where_memory_runs_out_it_is_told(
    backend: str, packages: Callable[[str], Package], contrib: Callable[..., Package]
) -> None:
    """And ONNX Runtime's own log says nothing beside it."""
    package = packages("phi3") if backend == "loop" else contrib("phi3")
    done = subprocess.run(
        [sys.executable, "-c", _STARVED, str(package.folder)],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    kind, cause, cure = json.loads(done.stdout)
    assert kind == "PromptError"
    # the operator says no more than std::bad_alloc
    assert re.fullmatch(r"memory ran out in the search(: [\d,]+ bytes \(.+)?", cause)
    assert ("bytes" in cause) is (backend == "loop")
    assert "fewer or shorter prompts" in cure
    assert not done.stderr


def test_errors_that_are_not_of_memory_keep_their_type(
    generators: Callable[[str], Generator],
) -> None:
    """What the graph cannot do is told by ONNX Runtime, as before."""
    from beamgen.runtime.session import run

    with pytest.raises(Exception, match="input_ids") as error:
        run(generators("gpt2").session, None, {})
    assert not isinstance(error.value, BeamgenError)
