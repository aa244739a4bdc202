"""The machine, the installation and a package are looked at together."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from beamgen.doctor.diagnosis import Diagnosis, Extra, Finding, Level, Limits, Need
from beamgen.doctor.instructions import instruction_findings
from beamgen.errors import extras
from beamgen.package.folder import Package, open_package
from beamgen.runtime.footprint import loaded_bytes, peak_bytes, search_bytes
from beamgen.runtime.machine import available_cores, describe_machine, version, versions
from beamgen.runtime.memory import free_bytes, told_bytes

#: Whose versions a diagnosis shows, besides those that a bench always does.
_VERSIONED = ("click", "huggingface-hub", "onnx", "onnx-ir", "onnxscript", "optimum", "peft",
              "pyarrow", "ray", "tokenizers")  # fmt: skip

#: Extras of who works on beamgen itself.
_NOT_FOR_USERS = {"dev", "docs"}

#: Fewer open files than this are soon used up by a job with many processes.
_FEW_FILES = 256

_PROMPT_TOKENS = 64


def doctor(
    package: Package | str | os.PathLike[str] | None = None,
    *,
    rows: int = 1,
    prompt_tokens: int = _PROMPT_TOKENS,
    **settings: Any,
) -> Diagnosis:
    """Look at this machine, at what is installed, and at what a package needs.

    Args:
        package: an opened package or its folder, or None.
        rows: prompts searched together, B.
        prompt_tokens: of each, S.
        settings: of the search, see ``Generator.generate``: ``num_beams``,
            ``max_new_tokens`` ...

    Raises:
        PackageError: the package cannot be read.
        SettingError: a setting is unknown or impossible.
        PromptError: ``max_length`` leaves nothing to generate.
    """
    import onnxruntime

    if package is not None and not isinstance(package, Package):
        package = open_package(package, verify=False)
    machine = describe_machine()
    limits = _limits(machine)
    providers = tuple(onnxruntime.get_available_providers())
    found = tuple(_extras())
    need = None
    if package is not None:
        need = _need(package, rows, prompt_tokens, settings, limits.free_memory)
    precision = None if package is None else package.manifest.precision
    findings = [
        *instruction_findings(machine["flags"], precision),
        *_limit_findings(limits),
        *_need_findings(need, limits),
        *_extra_findings(found),
    ]
    order = [Level.PROBLEM, Level.NOTE, Level.GOOD]
    return Diagnosis(
        versions(_VERSIONED),
        {name: machine[name] for name in ("cpu", "cores", "flags", "system")},
        providers,
        available_cores(),
        limits,
        found,
        need,
        tuple(sorted(findings, key=lambda finding: order.index(finding.level))),
    )


def _limits(machine: dict[str, Any]) -> Limits:
    try:
        disk: int | None = shutil.disk_usage(tempfile.gettempdir()).free
    except OSError:
        disk = None
    return Limits(
        machine["memory_bytes"],
        free_bytes(),
        _soft_limit("RLIMIT_NOFILE"),
        _soft_limit("RLIMIT_FSIZE"),
        disk,
    )


def _soft_limit(name: str) -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    most, _ = resource.getrlimit(getattr(resource, name))
    return None if most == resource.RLIM_INFINITY else most


def _extras() -> Iterator[Extra]:
    """Those of users."""
    for name, wanted in sorted(extras().items()):
        if name not in _NOT_FOR_USERS:
            missing = sorted(each for each in wanted if version(each) is None)
            yield Extra(name, tuple(missing))


def _need(
    package: Package, rows: int, prompt_tokens: int, settings: dict[str, Any], free: int | None
) -> Need:
    manifest = package.manifest
    config = manifest.search.with_overrides(settings)
    resolved = config.for_prompt(prompt_tokens, manifest.limits.room(prompt_tokens))

    def search(count: int) -> int:
        return search_bytes(package, count, prompt_tokens, resolved)

    most = None
    if free is not None:
        most, step = 0, 1 << 20
        while step:
            if peak_bytes(package, search(most + step)) <= free:
                most += step
            step >>= 1
    return Need(
        package.folder,
        rows,
        prompt_tokens,
        resolved.max_new_tokens,
        resolved.num_beams,
        loaded_bytes(package),
        search(rows),
        peak_bytes(package, search(rows)),
        most,
    )


def _need_findings(need: Need | None, limits: Limits) -> Iterator[Finding]:
    if need is None:
        return
    asked = f"{need.rows} prompt{'s' if need.rows > 1 else ''} of {need.prompt_tokens} tokens"
    what = (
        f"{need.folder}: {asked}, {need.num_beams} beams and {need.new_tokens} new tokens take "
        f"{told_bytes(need.peak)} at the peak, {told_bytes(need.loaded)} of it once loaded"
    )
    if limits.free_memory is None:
        yield Finding(Level.NOTE, f"{what}; what is free this system does not tell")
    elif need.peak <= limits.free_memory:
        yield Finding(
            Level.GOOD, f"{what}; {need.most_rows:,} such prompts would have room together"
        )
    else:
        cure = (
            f"search {need.most_rows} at once"
            if need.most_rows
            else "free memory, or export with --precision int8"
        )
        free = told_bytes(limits.free_memory)
        yield Finding(Level.PROBLEM, f"{what}, and {free} are free", cure)


def _limit_findings(limits: Limits) -> Iterator[Finding]:
    if limits.open_files is not None and limits.open_files < _FEW_FILES:
        yield Finding(
            Level.NOTE, f"only {limits.open_files} files may be open at a time", "ulimit -n 1024"
        )
    if limits.file_bytes is not None:
        yield Finding(
            Level.NOTE,
            f"files may have {told_bytes(limits.file_bytes)} at most, exported models too",
            "ulimit -f unlimited",
        )
    if limits.free_disk is not None and limits.free_disk < 1 << 30:
        yield Finding(
            Level.NOTE,
            f"{tempfile.gettempdir()} has {told_bytes(limits.free_disk)} left",
            "free some, or set TMPDIR",
        )


def _extra_findings(found: tuple[Extra, ...]) -> Iterator[Finding]:
    for extra in found:
        if extra.missing:
            yield Finding(
                Level.NOTE, f"[{extra.name}] lacks {', '.join(extra.missing)}", extra.install
            )
