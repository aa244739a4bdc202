"""LoftQ's start: a base of rounded weights, and A and B that make up for the rounding.

peft's own computes on a GPU, for nf4. This one rounds as the file does, on the CPU.

Source: Li et al. 2023, "LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models"
(arXiv:2310.08659), algorithm 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear

from beamgen.quantization.emulate import Reader, rounded

_ITERATIONS = 5  # the paper's T
_POWER_ITERATIONS = 4  # of the randomised SVD
_ADAPTER = "default"  # what peft calls a model's first LoRA


@torch.no_grad()
def start_with_loftq(model: PeftModel, readers: Sequence[Reader]) -> None:
    """Change base weights, A and B of the layers whose weights a file rounds, in place.

    A weight that another module reads as well, as a tied head's, stays as it is, and its LoRA
    begins with nothing.

    Args:
        model: with a fresh LoRA.
        readers: HF's modules that read what the file rounds.
    """
    layers: dict[int, Any] = {
        id(layer.get_base_layer()): layer for layer in model.modules() if isinstance(layer, Linear)
    }
    users = Counter(id(reader.module.get_parameter("weight")) for reader in readers)
    for reader in readers:
        layer, weight = layers.get(id(reader.module)), reader.module.get_parameter("weight")
        if layer is None or users[id(weight)] > 1:
            continue
        by_row = reader.by_row["weight"]
        rows = weight if by_row else weight.T
        a, b = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
        rounding = partial(rounded, precision=reader.precision, by_row=True)
        found, left, right = alternate(rows, len(a), rounding)
        share = layer.scaling[_ADAPTER] ** -0.5  # the layer scales B A, and each gets the root
        b.copy_(left * share)
        a.copy_(right * share)
        weight.copy_(found if by_row else found.T)


def alternate(
    weight: torch.Tensor, rank: int, rounding: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Split ``W [n, k]`` into ``Q + L R``, by rounding and decomposing what is left in turns.

    Args:
        weight: W.
        rank: r.
        rounding: by rows.

    Returns:
        Q ``[n, k]``, which is rounded, L ``[n, r]`` and R ``[r, k]``.
    """
    left, right = weight.new_zeros(len(weight), rank), weight.new_zeros(rank, weight.shape[1])
    found = rounding(weight)
    for _ in range(_ITERATIONS):
        found = rounding(weight - left @ right)
        drawn = min(2 * rank, *weight.shape)
        u, s, v = torch.svd_lowrank(weight - found, drawn, _POWER_ITERATIONS)
        kept = min(rank, drawn)
        root = s[:kept].sqrt()
        left[:, :kept] = u[:, :kept] * root
        right[:kept] = (v[:, :kept] * root).T
    return found, left, right
