"""The machine: processor, instructions, cores, memory, and versions of what is installed."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

#: As JSON calls them, and as Linux does.
_FLAGS: dict[str, tuple[str, ...]] = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "amx": ("amx_tile",),
}
_ALWAYS = ("beamgen", "numpy", "onnxruntime", "torch", "transformers")


def describe_machine() -> dict[str, Any]:
    """The processor's name and what it can do; None for what cannot be found out here."""
    about = _cpuinfo()
    flags = set(about.get("flags", about.get("Features", "")).split())

    return {
        "cpu": about.get("model name") or platform.processor() or platform.machine(),
        "cores": available_cores(),
        "flags": {name: bool(flags & {*own}) if flags else None for name, own in _FLAGS.items()},
        "memory_bytes": _memory(),
        "system": platform.platform(),
    }


def available_cores() -> int:
    """Cores that this process may use: those it is bound to, or a container's share, rounded up."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([bound or 1, *map(math.ceil, _quotas())]))


def _quotas(
    own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[float]:
    """How many cores' time each control group gives that the process is in, of both versions."""
    for line in read_text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        version_1 = "cpu" in controllers.split(",")
        if controllers and not version_1:
            continue
        base = root / "cpu" if version_1 else root
        group = base / path.lstrip("/")
        for folder in [group, *group.parents]:
            if version_1:
                names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                told = [read_text(folder / name).strip() for name in names]
            else:
                told = read_text(folder / "cpu.max").split()
            if len(told) == 2 and all(map(str.isdecimal, told)):  # "max" and -1 are no limit
                yield int(told[0]) / int(told[1])
            if folder == base:
                break


def read_text(path: Path) -> str:
    """A file of the kernel's; nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def versions(distributions: Iterable[str]) -> dict[str, str | None]:
    """Versions of Python and of each package; None where one is not installed."""
    names = sorted({*_ALWAYS, *distributions})
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}


def version(distribution: str) -> str | None:
    """The version of one package, None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def peak_memory() -> int:
    """Bytes that this process held at most since its program began.

    Not ``ru_maxrss``, which on Linux begins at what the parent held when it forked.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
