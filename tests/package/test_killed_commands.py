"""Commands are killed at each moment at which they change the disk.

What a kill leaves is what lies on the disk then, every lock free: it is copied at each of
these moments of one run, and held to be the old package or the new one, each file by its hash.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from package.test_folders import everything
from support.moments import before_each_change

from beamgen import Package, convert_lora, export, open_package, package_as, quantize, remove_lora
from beamgen.package.workspace import sweep

Tree = dict[str, bytes]


@dataclass
class Run:
    """One run of a command in ``place``, and copies of that at each of its moments."""

    place: Path
    copies: Path
    moments: list[Path] = field(default_factory=list)

    def record(self, work: Callable[[], object]) -> tuple[Tree, Tree]:
        """Run it; give what there was before and after."""
        before = everything(self.place)
        stop = before_each_change(self.place, self._copy)
        try:
            work()
        finally:
            stop()
        after = everything(self.place)
        assert before != after
        return before, after

    def _copy(self) -> None:
        copy = self.copies / f"{len(self.moments)}"
        shutil.copytree(self.place, copy, symlinks=True)
        self.moments.append(copy)

    def check(
        self, before: Tree, after: Tree, opened: Callable[[Path], object], again: Callable
    ) -> None:
        """Each is the old or the new, the old ones first; and the next run leaves no litter.

        Args:
            before: all files at the first moment.
            after: all files in the end.
            opened: opens what is there, which has to work.
            again: what the next run does: at least the sweep with which each begins.
        """
        new = 0
        for copy in self.moments:
            opened(copy)
            there = {
                name: text for name, text in everything(copy).items() if "/." not in f"/{name}"
            }
            assert there == (after if new else before) or there == after, copy
            new += there == after
            again(copy)
            assert everything(copy).keys() == after.keys(), copy
        assert 0 < new < len(self.moments)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "place").mkdir()
    return Run(tmp_path / "place", tmp_path / "copies")


def _visible(folder: Path) -> Tree:
    """What is there for whoever does not look for hidden names."""
    return {name: text for name, text in everything(folder).items() if "/." not in f"/{name}"}


def _open(folder: Path) -> Package:
    return open_package(folder / "pk")


def test_export(
    run: Run, packages: Callable[[str], Package], checkpoints: Callable[[str], Path]
) -> None:
    shutil.copytree(packages("gpt2").folder, run.place / "pk")

    def make() -> object:
        target, settings = run.place / "pk", {"num_beams": 2}
        return export(checkpoints("gpt2"), target, force=True, parity=False, settings=settings)

    before, after = run.record(make)
    assert len(run.moments) >= 20
    run.check(before, after, _open, sweep)


def test_quantize(run: Run, packages: Callable[[str], Package]) -> None:
    shutil.copytree(packages("gpt2").folder, run.place / "pk")

    def make() -> object:
        target = run.place / "pk"
        return quantize(packages("gpt2"), target, precision="fp16", force=True, parity=False)

    before, after = run.record(make)
    assert len(run.moments) >= 20
    run.check(before, after, _open, sweep)


@pytest.mark.parametrize("name", ["a", "further"])
def test_lora_convert(
    name: str,
    run: Run,
    slotted: Callable[..., Package],
    loras: Callable[[str], dict[str, Path]],
) -> None:
    """A LoRA that is replaced, and one that is added; then another comes and goes."""
    shutil.copytree(slotted("gpt2").folder, run.place / "pk")

    def convert(folder: Path, called: str) -> Package:
        package = _open(folder)
        source = loras("gpt2")["b"]
        return convert_lora(package, source, name=called, force=True, parity=False).package

    def again(folder: Path) -> None:
        remove_lora(convert(folder, "next"), "next")
        convert(folder, name)

    before, after = run.record(lambda: convert(run.place, name))
    assert len(run.moments) >= 5
    run.check(before, after, _open, again)


def test_package(run: Run, packages: Callable[[str], Package]) -> None:
    def make(package: Package) -> object:
        return package_as(package, "triton", run.place / "site", force=True, batching="simple")

    def whole(folder: Path) -> None:
        about = json.loads((folder / "site" / "beamgen-triton.json").read_text())
        assert {"site/" + name for name in about["files"]} <= everything(folder).keys()

    make(packages("gpt2"))
    before, after = run.record(lambda: make(packages("biogpt")))
    assert len(run.moments) >= 15
    run.check(before, after, whole, sweep)


_COMMANDS: dict[str, Sequence[str]] = {
    "export": ("export", "-m", "{checkpoint}", "-o", "pk", "--force", "--num-beams", "2"),
    "quantize": ("quantize", "{package}", "-o", "pk", "--force", "--precision", "fp16"),
    "lora convert": ("lora", "convert", "{lora}", "-m", "pk", "--name", "a", "--force"),
    "package": ("package", "text", "-m", "{demo}", "-o", "text", "--force"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", _COMMANDS)
def test_real_kills(
    name: str,
    run: Run,
    packages: Callable[[str], Package],
    slotted: Callable[..., Package],
    demos: Callable[[str], Package],
    checkpoints: Callable[[str], Path],
    loras: Callable[[str], dict[str, Path]],
) -> None:
    """Fourteen of each command, by SIGKILL and, at every third, SIGTERM; then one that ends."""
    shutil.copytree(slotted("gpt2").folder, run.place / "pk")
    package_as(demos("gpt2"), "text", run.place / "text")
    paths = {
        "checkpoint": checkpoints("gpt2"),
        "package": packages("gpt2").folder,
        "lora": loras("gpt2")["b"],
        "demo": demos("gpt2").folder,
    }
    arguments = [part.format(**paths) for part in _COMMANDS[name]]
    command = [sys.executable, "-m", "beamgen", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    before = everything(run.place)
    began = time.monotonic()
    subprocess.run(command, cwd=shutil.copytree(run.place, run.copies), env=environment, check=True)
    lasts, after = time.monotonic() - began, everything(run.copies)
    killed = 0
    for number in range(14):
        process = subprocess.Popen(
            command, cwd=run.place, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(random.Random(number).uniform(0.3, 1.0) * lasts)
        process.send_signal(signal.SIGTERM if number % 3 == 2 else signal.SIGKILL)
        killed += process.wait() != 0
        _open(run.place)
        assert _visible(run.place).keys() in (before.keys(), after.keys())
    assert killed
    subprocess.run(command, cwd=run.place, env=environment, check=True)
    assert everything(run.place).keys() == after.keys()
