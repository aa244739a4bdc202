"""The parity check that ends whatever writes into a package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.package.folder import Package, stamp_parity

if TYPE_CHECKING:
    from beamgen.parity.report import CaseResult, ParityReport

Progress = Callable[[str], None]


def prove(
    package: Package,
    checkpoint: Checkpoint,
    say: Progress,
    lora: str | None = None,
    further: Sequence[CaseResult] = (),
) -> tuple[Package, ParityReport]:
    """Run the quick grid, with a LoRA of the package or without, and stamp the verdict.

    ``further`` are results that count, too.
    """
    report = compare(package, checkpoint, say, lora)
    report = replace(report, results=[*report.results, *further])
    return stamp_parity(package, report.to_json(), lora=lora), report


def compare(
    package: Package, checkpoint: Checkpoint, say: Progress, lora: str | None = None
) -> ParityReport:
    """Run the quick grid, with a LoRA of the package or without."""
    from beamgen.parity.check import check_parity

    of = f" of {lora}" if lora else ""

    def progress(phase: str, done: int, total: int) -> None:
        say(f"parity{of}: {phase}, case {done + 1} of {total}")

    return check_parity(package, checkpoint, lora=lora, progress=progress)
