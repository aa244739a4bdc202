"""Pearson's chi-squared test, for samples that should follow a law."""

from __future__ import annotations

import numpy as np
import torch

#: A p-value below it is no chance.
LEAST = 1e-3


def p_value(statistic: float, freedom: int) -> float:
    """Upper tail of the chi-squared distribution.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.4.19.
    """
    half = torch.tensor([freedom, statistic], dtype=torch.float64) / 2
    return torch.special.gammaincc(half[0], half[1]).item()


def fits(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """The p-value of Pearson's chi-squared test of counts against a law."""
    counts, probabilities = np.ravel(counts), np.ravel(probabilities)
    expected = counts.sum() * probabilities
    assert expected.min() >= 5  # Knuth, 3.3.1: fewer make it no chi-squared distribution
    return p_value(((counts - expected) ** 2 / expected).sum(), len(counts) - 1)


def same_law(first: np.ndarray, second: np.ndarray) -> float:
    """The p-value of the chi-squared test that two equally large samples have one law."""
    assert first.sum() == second.sum()
    both = first + second
    assert both.min() >= 10
    return p_value(((first - second) ** 2 / both).sum(), len(both) - 1)
