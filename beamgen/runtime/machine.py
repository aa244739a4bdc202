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
#: Linux names the control groups of a process in the one, and has their folders in the other.
GROUPS_OF_SELF, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
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


def _quotas(own: Path = GROUPS_OF_SELF, root: Path = GROUPS) -> Iterator[float]:
    """How many cores' time each control group gives that the process is in."""
    for folder, version_1 in control_groups("cpu", own, root):
        if version_1:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            told = [read_text(folder / name).strip() for name in names]
        else:
            told = read_text(folder / "cpu.max").split()
        if len(told) == 2 and all(map(str.isdecimal, told)):  # "max" and -1 are no limit
            yield int(told[0]) / int(told[1])


def control_groups(
    controller: str, own: Path = GROUPS_OF_SELF, root: Path = GROUPS
) -> Iterator[tuple[Path, bool]]:
    """The control groups that this process is in, inner ones first, of both versions.

    Args:
        controller: what they share out, e.g. ``cpu``.
        own: the kernel's file that names them.
        root: where their folders are.

    Yields:
        A group's folder, and whether it is of version 1, which names its files otherwise.

    Source: Linux, ``cgroups(7)``.
    """
    for line in read_text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        version_1 = controller in controllers.split(",")
        if controllers and not version_1:
            continue
        base = root / controller if version_1 else root
        group = base / path.lstrip("/")
        for folder in [group, *group.parents]:
            yield folder, version_1
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
