"""Scores and histories on which logits processors are compared with HF's classes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from beamgen.search.functions import later_rules
from beamgen.settings.rules import installed_rules
from beamgen.settings.table import PROCESSORS
from support.onnx_functions import run

#: Every processor's ONNX functions, by name.
compiled = SimpleNamespace(
    **{function.name: function for each in PROCESSORS for function in each.compiled}
)

B, N, V = 2, 3, 20
INF = float("inf")
NOTHING = np.array([], np.int64)
NO_FLOATS = np.array([], np.float32)
NO_SEQUENCES = np.empty((0, 1), np.int64)

Processor = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def random_scores(*, banned: float = 0.2, beams: int = N) -> np.ndarray:
    """Log-probabilities, some of them -inf already."""
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(size=(B, beams, V)) * 3)
    scores = torch.log_softmax(logits, -1).float().numpy()
    scores[rng.random(scores.shape) < banned] = -INF
    return scores


def random_logits() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(B, N, V)).astype(np.float32) * 3


def odd_scores() -> np.ndarray:
    """With what arithmetic would not leave as it is."""
    scores = random_scores()
    scores[0, 0, :5] = -0.0, np.nan, INF, -INF, 1e-42
    return scores


def random_history(length: int, vocab: int = V) -> np.ndarray:
    return np.random.default_rng(length).integers(0, vocab, (B, N, length))


def by_hf(
    processor: Processor, history: np.ndarray, scores: np.ndarray, vocab: int = V
) -> np.ndarray:
    rows = torch.tensor(scores.reshape(-1, vocab))
    ids = torch.tensor(history.reshape(-1, history.shape[2]))
    return processor(ids, rows.clone()).numpy().reshape(scores.shape)


def as_biased_read(history: np.ndarray) -> np.ndarray:
    """A history as sequences are looked for in it under the rules of the installed HF."""
    if not installed_rules().bias_reaches_back:
        return history
    (longer,) = run(later_rules.one_id_before, history)
    return longer


def right_aligned(sequences: list[list[int]]) -> np.ndarray:
    longest = max(map(len, sequences))
    return np.array([[-1] * (longest - len(ids)) + ids for ids in sequences], np.int64)


def of_row(row: int, *arrays: Any) -> list[Any]:
    """Row ``row`` of what is [B, ...], by itself."""
    return [np.asarray(array)[row : row + 1] for array in arrays]
