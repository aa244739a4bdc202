"""Memory: what there is, and what is said where it runs out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from beamgen.errors import PromptError
from beamgen.runtime.machine import GROUPS, GROUPS_OF_SELF, control_groups, read_text

#: How ONNX Runtime, C++ and NumPy say that memory ran out; the first tells how much was asked for.
_RAN_OUT = re.compile(r"requested buffer of size (\d+)|bad[_ ]alloc|Unable to allocate")

#: By how much an estimate may be wrong.
_ESTIMATE_ERROR = 0.2


def check_memory(needed: int) -> None:
    """Refuse what would not fit, before the system ends the process.

    Args:
        needed: an estimate of the peak, in bytes.

    Raises:
        PromptError: less is free, by more than the estimate may be wrong.
    """
    free = free_bytes()
    if free is not None and needed * (1 - _ESTIMATE_ERROR) > free:
        raise PromptError(
            f"this search takes about {told_bytes(needed)} at its peak, "
            f"and {told_bytes(free)} of memory are free",
            _CURE,
        )


_CURE = "search fewer or shorter prompts at once, or set max_new_tokens lower"


def ran_out(error: BaseException) -> PromptError | None:
    """What to raise in place of another library's error, where that says that memory ran out."""
    found = _RAN_OUT.search(str(error))
    if found is None and not isinstance(error, MemoryError):
        return None
    asked = int(found[1]) if found and found[1] else None
    part = f": {told_bytes(asked)} more were asked for" if asked else ""
    return PromptError(f"memory ran out in the search{part}", _CURE)


def told_bytes(count: int) -> str:
    """Bytes, and what a person takes in at a glance."""
    return f"{count:,} bytes ({count / 2**30:.1f} GiB)"


def free_bytes() -> int | None:
    """What this process may still take: of the machine, its control groups and its limits.

    None where the system does not tell, which only Linux does.
    """
    told = [*_of_machine(), *_of_groups(), *_of_limits()]
    return max(0, min(told)) if told else None


def _of_machine(meminfo: Path = Path("/proc/meminfo")) -> Iterator[int]:
    table = _table(meminfo)
    if "MemAvailable" in table:
        yield (table["MemAvailable"] + table.get("SwapFree", 0)) * 1024


def _of_groups(own: Path = GROUPS_OF_SELF, root: Path = GROUPS) -> Iterator[int]:
    """Of each control group that the process is in."""
    for folder, version_1 in control_groups("memory", own, root):
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if version_1
            else ("memory.max", "memory.current", "inactive_file")
        )
        yield from _of_group(folder, *names)


def _of_group(folder: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    most, used = read_text(folder / limit).strip(), read_text(folder / usage).strip()
    if most.isdecimal() and used.isdecimal():  # "max" is no limit
        pages = _table(folder / "memory.stat").get(reclaimable, 0)  # of files, which it may drop
        yield int(most) - int(used) + pages


def _of_limits() -> Iterator[int]:
    """Of ``ulimit -v``."""
    try:
        import resource
    except ImportError:  # Windows
        return
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _table(Path("/proc/self/status")).get("VmSize")
    if most != resource.RLIM_INFINITY and used is not None:
        yield most - used * 1024


def _table(path: Path) -> dict[str, int]:
    """Lines ``NAME: 12 kB`` or ``NAME 12`` of a file of the kernel's."""
    rows = [line.replace(":", " ").split() for line in read_text(path).splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
