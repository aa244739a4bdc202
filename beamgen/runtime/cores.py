"""Whether this machine has cores free for a search, or other processes keep them busy.

ONNX Runtime's threads spin while they wait for each other's part of an operator. With a core for
each that is the fastest way; on a core that is shared they spend their turn on it, and the part
that all wait for comes later: a search takes more than twice as long (docs/performance.md).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")

#: Seconds that are looked at: the kernel counts in hundredths. Of what was longer ago nothing is
#: concluded.
_LEAST, _MOST = 0.1, 5.0

#: Parts of a core that may be missing.
_SLACK = 0.4


@dataclass(frozen=True)
class Moment:
    """What the kernel had counted at a time; ``seen`` gives one.

    Attributes:
        time: of ``time.monotonic``, in seconds.
        own: seconds that this process computed.
        idle: seconds that each core did nothing, by its number; empty where nobody tells.
    """

    time: float
    own: float
    idle: Mapping[int, float]


def seen(stat: Path = _STAT) -> Moment:
    """What the kernel has counted until now.

    Source: Linux, ``proc_stat(5)``: the fourth and fifth figure of ``cpuN``, idle and iowait.
    """
    idle = {}
    try:
        lines = stat.read_text(encoding="utf-8").splitlines()
        hertz = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        lines, hertz = [], 1
    for line in lines:
        name, *figures = line.split()
        if name.startswith("cpu") and name[3:].isdecimal():
            idle[int(name[3:])] = (int(figures[3]) + int(figures[4])) / hertz
    return Moment(time.monotonic(), time.process_time(), idle)


def contended(threads: int, since: Moment, stat: Path = _STAT) -> bool:
    """Whether fewer cores than threads were free to this process, because of others.

    Waits where ``since`` was just now, or long ago.

    Args:
        threads: that are to compute at once.
        since: the beginning of the time that is looked at.
        stat: the kernel's file.
    """
    if not since.idle:
        return False
    if time.monotonic() - since.time > _MOST:
        since = seen(stat)
    time.sleep(max(0.0, since.time + _LEAST - time.monotonic()))
    now = seen(stat)
    passed = now.time - since.time
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(now.idle)
    idle = sum(now.idle[core] - since.idle[core] for core in usable & now.idle.keys())
    free = (idle + now.own - since.own) / passed
    return free < min(threads, len(usable)) - _SLACK
