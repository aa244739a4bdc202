"""How fast a search could be at all: what each step has to read, at the machine's bandwidth.

A step reads all weights of the decoder once, and the keys and values that its row's beams
attend to. With B rows, S prompt tokens and N new ones, W bytes of weights and
``c = 2 * L * Hkv * D * 4`` bytes of cache for each token,

    floor = sum over t = 0 .. N-1 of (W + B * c * (S + t)) / bandwidth

Step 0 is the prompt pass. Beams share most of their ancestors, so a row's cache is counted
once, not K times. W counts a tied embedding once; an untied input embedding and tables of
positions are not in it, because a step gathers a few of their rows.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from beamgen.adapter import KVGeometry
from beamgen.bench.workload import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FLOAT32 = 4
#: What is read in one pass: far more than any last-level cache that is shared out to us.
_BUFFER_BYTES = 1 << 29
_PASSES = 9


def floor_seconds(weight_bytes: int, cache_bytes: int, task: Task, bandwidth: float) -> float:
    """Seconds that reading alone takes in a whole search, by the module's formula.

    Args:
        weight_bytes: W.
        cache_bytes: c, of one token in one row.
        task: gives B, S and N.
        bandwidth: bytes per second.
    """
    steps = task.new_tokens
    tokens = sum(task.prompt_tokens + step for step in range(steps))
    return (steps * weight_bytes + task.batch_size * cache_bytes * tokens) / bandwidth


def bytes_per_token(geometry: KVGeometry) -> int:
    """Bytes of one token's keys and values in float32, c of the module's formula."""
    return 2 * geometry.num_layers * geometry.num_kv_heads * geometry.head_dim * _FLOAT32


def bytes_per_step(model: PreTrainedModel) -> int:
    """Bytes of weights that a step reads in float32, W of the module's formula.

    All parameters but those of embeddings; an embedding counts where it is the output
    head, too. The model may be on the meta device.
    """
    import torch

    lookups = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    gathered = {id(module.weight) for module in lookups}
    gathered.discard(id(model.get_output_embeddings().weight))  # tied, so it is a product, too
    read: int = sum(p.numel() for p in model.parameters() if id(p) not in gathered)
    return _FLOAT32 * read


def measure_bandwidth(threads: int, buffer_bytes: int = _BUFFER_BYTES) -> float:
    """Bytes per second that ``threads`` threads read together.

    Each thread reduces a part of one buffer with NumPy, which lets go of the interpreter's
    lock. The median of the passes counts, of the reduction that reads fastest.
    """
    import numpy as np

    buffer = np.ones(buffer_bytes // _FLOAT32, np.float32)  # touched, so it is in memory
    parts = np.array_split(buffer, threads)
    reductions: list[Any] = [lambda part: np.dot(part, part), np.add.reduce, np.maximum.reduce]
    rates = []
    with ThreadPoolExecutor(threads) as pool:
        for reduce in reductions:
            seconds = []
            for _ in range(_PASSES):
                start = time.perf_counter()
                list(pool.map(reduce, parts))
                seconds.append(time.perf_counter() - start)
            rates.append(buffer.nbytes / statistics.median(seconds))
    return max(rates)
