"""How fast a search could be at all: what each step has to read, at the machine's bandwidth.

A step reads all weights of the decoder once, and the keys and values that its row's beams
attend to. With B rows, S prompt tokens and N new ones, W bytes of weights and
``c = 2 * L * Hkv * D * 4`` bytes of cache for each token,

    floor = sum over t = 0 .. N-1 of (W + B * c * (S + t)) / bandwidth

Step 0 is the prompt pass. Beams share most of their ancestors, so a row's cache is counted
once, not K times. W counts a tied embedding once; an untied input embedding and tables of
positions are not in it, because a step gathers a few of their rows.

An encoder's E bytes of weights are read once, with those of the products that make keys and
values of what it gives. There are as many of these in each step as the source has tokens, S, and
the decoder's own prompt is one token:

    floor = (E + sum over t = 0 .. N-1 of (W + B * c * (S + 1 + t))) / bandwidth
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter
from beamgen.bench.workload import Task
from beamgen.seq2seq_adapter import Seq2SeqAdapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FLOAT32 = 4
#: What is read in one pass: far more than any last-level cache that is shared out to us.
_BUFFER_BYTES = 1 << 29
_PASSES = 9


@dataclass(frozen=True)
class Reading:
    """What a search has to read, in bytes.

    Attributes:
        weights: in each step, W of the module's formula.
        cache: for one token in one row, c.
        encoder: weights that are read once, E; None where there is no encoder.
    """

    weights: int
    cache: int
    encoder: int | None = None

    def stored_in(self, file_bytes: int) -> Reading:
        """The same where all weights take so many bytes."""
        encoder = self.encoder or 0
        share = self.weights / (self.weights + encoder)
        rest = None if self.encoder is None else round(file_bytes * (1 - share))
        return replace(self, weights=round(file_bytes * share), encoder=rest)

    def seconds(self, task: Task, bandwidth: float) -> float:
        """Seconds that reading alone takes in a whole search, by the module's formula.

        Args:
            task: gives B, S and N.
            bandwidth: bytes per second.
        """
        steps, start = task.new_tokens, 0 if self.encoder is None else 1
        tokens = sum(task.prompt_tokens + start + step for step in range(steps))
        cache = task.batch_size * self.cache * tokens
        return ((self.encoder or 0) + steps * self.weights + cache) / bandwidth


def bytes_read(adapter: DecoderAdapter, model: PreTrainedModel) -> Reading:
    """What a search reads of a model in float32; it may be on the meta device."""
    geometry = adapter.kv_geometry(model.config)
    values = geometry.num_layers * geometry.num_kv_heads * sum(geometry.widths)
    once, everything = _read_once(adapter, model), _read(model)
    return Reading(
        weights=_FLOAT32 * sum(size for name, size in everything.items() if name not in once),
        cache=_FLOAT32 * values,
        encoder=_FLOAT32 * sum(everything[name] for name in once) if once else None,
    )


def _read(model: PreTrainedModel) -> dict[int, int]:
    """The sizes of all parameters but those of embeddings; of one that is the head, too."""
    import torch

    lookups = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    gathered = {id(module.weight) for module in lookups}
    gathered.discard(id(model.get_output_embeddings().weight))  # tied, so it is a product, too
    return {id(p): p.numel() for p in model.parameters() if id(p) not in gathered}


def _read_once(adapter: DecoderAdapter, model: PreTrainedModel) -> set[int]:
    """Which of those an encoder-decoder reads before its first step."""
    if not isinstance(adapter, Seq2SeqAdapter):
        return set()
    crossing = [layer for pair in adapter.cross_attention(model) for layer in pair]
    modules = [model.get_encoder(), *crossing]
    once = {id(parameter) for module in modules for parameter in module.parameters()}
    in_steps = {id(model.get_output_embeddings().weight)}
    return (once & _read(model).keys()) - in_steps


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
