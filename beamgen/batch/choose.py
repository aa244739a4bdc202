"""How many processes, threads and rows at once: from cores, weights and free memory."""

from __future__ import annotations

from beamgen.batch.job import Packing
from beamgen.package.folder import Package
from beamgen.runtime.footprint import loaded_bytes
from beamgen.runtime.machine import available_cores
from beamgen.runtime.memory import free_bytes

#: Beams of all rows in a step: more of them make no step cheaper by the row.
BEAMS = 80

#: Bytes that the search of a batch may take, where memory is plenty.
_MOST = 512 << 20

#: The part of the free memory that is planned with.
_SHARE = 0.8


def choose_packing(package: Package, batch_size: int | None, memory: int | None) -> Packing:
    """What a batch may hold: the caller's figures, or those that suit this machine."""
    if memory is None:
        free = free_bytes()
        left = _MOST if free is None else int(free * _SHARE) - loaded_bytes(package)
        memory = max(min(_MOST, left), 1)
    return Packing(BEAMS, memory, batch_size)


def choose_workers(
    package: Package, packing: Packing, processes: int | None, threads: int | None
) -> tuple[int, int]:
    """Processes, and threads of each.

    A process of one thread for each core: none waits for another within an operator. Each holds
    the weights, so that there are no more than memory has room for.
    """
    cores = available_cores()
    if processes is None:
        each = loaded_bytes(package) + packing.memory
        free = free_bytes()
        room = cores if free is None else int(free * _SHARE // each)
        processes = max(1, min(cores // (threads or 1), room))
    return processes, threads or max(1, cores // processes)
