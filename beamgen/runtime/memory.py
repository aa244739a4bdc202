"""Memory: the least that a search takes, what there is, and what is said where it runs out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from pathlib import Path

from beamgen.errors import PromptError
from beamgen.package.folder import Package
from beamgen.package.manifest import Manifest
from beamgen.settings.config import ResolvedSearch

_FLOAT_BYTES = 4
#: How ONNX Runtime, C++ and NumPy say that memory ran out; the first tells how much was asked for.
_RAN_OUT = re.compile(r"requested buffer of size (\d+)|bad[_ ]alloc|Unable to allocate")


def least_bytes(manifest: Manifest, rows: int, prompt_len: int, config: ResolvedSearch) -> int:
    """What a search holds at once at the least, in bytes.

    Its cache grows with what is generated, but it may end early: only the prompt's counts. The
    loop backend holds it twice when it is first compacted, and logits and log-probabilities
    of every beam beside it, and every beam's states. An operator holds the scores of a whole
    prompt, and a cache for each beam.

    Args:
        manifest: of the package; one that tells nothing of its cache gives 0.
        rows: prompts in the batch, B.
        prompt_len: S, padding included.
        config: of any row, as all share ``num_beams``.
    """
    kind, beams = manifest.cache, config.num_beams
    if kind is None:
        return 0
    entry = kind.num_layers * kind.num_kv_heads * sum(kind.widths) * _FLOAT_BYTES
    if manifest.backend == "contrib":
        scores = rows * kind.num_kv_heads * prompt_len**2 * _FLOAT_BYTES
        cache = rows * prompt_len * entry
        return cache + max(scores, cache * (beams - 1))
    held = min(prompt_len, manifest.limits.attention_window or prompt_len)
    cache, goes_on = rows * held * entry, config.max_new_tokens > 1
    states = rows * beams * sum(map(prod, kind.states)) * _FLOAT_BYTES
    logits = 2 * rows * beams * manifest.vocab_size * _FLOAT_BYTES if goes_on else 0
    return states + cache + max(logits, cache if goes_on else 0)


def search_bytes(manifest: Manifest, rows: int, prompt_len: int, config: ResolvedSearch) -> int:
    """TODO calibrate."""
    return 2 * least_bytes(manifest, rows, prompt_len, config)


def loaded_bytes(package: Package) -> int:
    """TODO calibrate."""
    return 100 << 20


def check_memory(needed: int) -> None:
    """Refuse what would not fit.

    Raises:
        PromptError: less than ``needed`` bytes are free.
    """
    free = free_bytes()
    if free is not None and needed > free:
        raise PromptError(
            f"this search holds {_told(needed)} at once at the least, "
            f"and {_told(free)} of memory are free",
            _CURE,
        )


_CURE = "search fewer or shorter prompts at once, or with more memory"


def ran_out(error: BaseException) -> PromptError | None:
    """What to raise in place of another library's error, where that says that memory ran out."""
    found = _RAN_OUT.search(str(error))
    if found is None and not isinstance(error, MemoryError):
        return None
    asked = int(found[1]) if found and found[1] else None
    part = f": {_told(asked)} more were asked for" if asked else ""
    return PromptError(f"memory ran out in the search{part}", _CURE)


def _told(count: int) -> str:
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


def _of_groups(
    own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Of each control group that the process is in, of both versions."""
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        version_1 = "memory" in controllers.split(",")
        if controllers and not version_1:
            continue
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if version_1
            else ("memory.max", "memory.current", "inactive_file")
        )
        base = root / "memory" if version_1 else root
        group = base / path.lstrip("/")
        for folder in [group, *group.parents]:
            yield from _of_group(folder, *names)
            if folder == base:
                break


def _of_group(folder: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    most, used = _text(folder / limit).strip(), _text(folder / usage).strip()
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
    rows = [line.replace(":", " ").split() for line in _text(path).splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
