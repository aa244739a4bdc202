"""A LoRA becomes an ``.onnx_adapter`` file of a package, and is proved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.checkpoint.lora_source import lora_name, origin, read_lora
from beamgen.errors import LoraError
from beamgen.export.prove import Progress, compare
from beamgen.lora.adapter_file import write_adapter
from beamgen.lora.align import aligned
from beamgen.lora.fit import FitReport, check_fits, fit_report
from beamgen.lora.slots import Lora
from beamgen.package.folder import Package
from beamgen.package.loras import forget_lora, lora_file, record_lora, staged_lora
from beamgen.package.source import open_source
from beamgen.registry import find_adapter
from beamgen.settings.rules import check_comparable

if TYPE_CHECKING:
    from beamgen.parity.report import ParityReport


@dataclass(frozen=True)
class ConvertResult:
    """What ``convert_lora`` made.

    Attributes:
        package: with the LoRA.
        name: what it is called there.
        path: of its file.
        lora: its weights.
        parity: the report, or None where nothing was compared.
    """

    package: Package
    name: str
    path: Path
    lora: Lora
    parity: ParityReport | None


def convert_lora(
    package: Package,
    source: str | os.PathLike[str],
    *,
    name: str | None = None,
    checkpoint: str | None = None,
    force: bool = False,
    parity: bool = True,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> ConvertResult:
    """Write ``adapters/NAME.onnx_adapter``, and compare it with HF + peft.

    Args:
        package: one exported with slots.
        source: a PEFT folder, a hub id; or an ``.onnx_adapter`` file, which cannot be
            compared with anything.
        name: by default the folder's or file's.
        checkpoint: the base model; by default the one named in the package.
        force: replace a LoRA of that name.
        parity: end with the quick parity grid.
        trust_remote_code: run Python code that comes with the checkpoint.
        progress: called with one line as each stage begins.

    Raises:
        LoraError: it cannot be read or does not fit, or the name is taken; nothing is
            written then.
        CheckpointError, MissingExtraError: the base model cannot be loaded for the
            comparison; nothing is written then either.
        RulesError: it is to be compared, and the package follows other rules than the
            transformers installed.
    """
    say = progress or (lambda line: None)
    lora, called = _of_package(read_lora(source), package), lora_name(source, name)
    check_fits(lora, package.manifest.lora_slots)
    if called in package.loras and not force:
        raise LoraError(
            f"the package has a LoRA called '{called}'", "pass --force to replace it, or --name"
        )
    folder = Path(lora.source)
    base = None
    if parity and folder.is_dir():
        if package.manifest.backend == "loop":
            check_comparable(package.manifest.rules, "pass --no-parity")
        base = open_source(package, checkpoint, trust_remote_code=trust_remote_code)
    say(f"converting {called}")
    about, report = _about(lora, origin(source)), None
    with staged_lora(package, called) as staged:
        write_adapter(lora, staged.loras[called])
        if base is not None:
            report = compare(staged, base.with_lora(folder), say, lora=called)
            about["parity"] = report.to_json()
        package = record_lora(staged, called, about)
    return ConvertResult(package, called, package.loras[called], lora, report)


def lora_fit(lora: Lora, package: Package) -> FitReport:
    """Hold a LoRA against a package's slots, tensor by tensor."""
    manifest, lora = package.manifest, _of_package(lora, package)
    return fit_report(lora, manifest.lora_slots, manifest.source["model"])


def _of_package(lora: Lora, package: Package) -> Lora:
    """A LoRA under the names of a package's slots."""
    manifest = package.manifest
    return aligned(lora, manifest.lora_slots, find_adapter(manifest.adapter).fused)


def add_adapter(package: Package, name: str, lora: Lora, source: str) -> Package:
    """Write a LoRA into a package that is being made."""
    path = package.folder / lora_file(name)
    path.parent.mkdir(exist_ok=True)
    write_adapter(lora, path)
    return record_lora(package, name, _about(lora, source))


def _about(lora: Lora, source: str) -> dict[str, Any]:
    return {"source": source, "base": lora.base, "parity": None}


def remove_lora(package: Package, name: str) -> Package:
    """Delete a LoRA of a package, and what its manifest says of it.

    Raises:
        LoraError: there is none of that name.
    """
    recorded = name in package.manifest.loras
    path = package.loras.get(name) if recorded else package.lora_path(name)
    left = forget_lora(package, name)
    if path is not None:
        path.unlink()
    return left
