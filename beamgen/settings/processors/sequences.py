"""Sequences of token ids, as some processors take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.errors import SettingError
from beamgen.settings.parameter import Problem


def check_list(name: str, value: Any) -> Iterable[Any]:
    """The items of a list.

    Raises:
        SettingError: it is something else.
    """
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise SettingError(f"{name} must be a list, not {value!r}", "for example [[5, 9], [7]]")
    return value


def empty_problems(name: str, sequences: Sequence[Sequence[int]]) -> Iterator[Problem]:
    """Cause and cure where a sequence has no ids."""
    if not all(sequences):
        yield f"{name} holds an empty sequence", "leave it out"


def right_aligned(sequences: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    """Int64 ``[n, longest]``, filled with -1 on the left; ``[0, 1]`` of none."""
    longest = max((len(ids) for ids in sequences), default=1)
    aligned = np.full((len(sequences), longest), -1, np.int64)
    for row, ids in enumerate(sequences):
        aligned[row, longest - len(ids) :] = ids
    return aligned
