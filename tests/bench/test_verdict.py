"""Whose time may be compared."""

from __future__ import annotations

from typing import Any

import pytest

from beamgen.bench.verdict import judge


@pytest.mark.parametrize(
    ("precision", "found", "verdict"),
    [
        ("float32", [[[[1, 2, 3]]]] * 2, ("same tokens", 3)),
        ("float32", [[[[1, 2, 4]]]] * 2, ("other tokens", 2)),
        ("float32", [[[[1, 2]]]] * 2, ("other tokens", 2)),
        ("float32", [[[[1, 2, 3]]], [[[1, 9, 3]]]], ("unsteady tokens", 1)),
        ("int8", [[[[9, 2, 3]]]] * 2, ("own weights", 0)),
        ("int8", [[[[9, 2, 3]]], [[[9, 2, 4]]]], ("unsteady tokens", 0)),
        ("int4", [[[[1, 2, 3]]]], ("own weights", 3)),
        ("default", [[[[1, 2, 4]]]], ("own precision", 2)),
    ],
)
def test_who_is_comparable(precision: str, found: Any, verdict: tuple[str, int]) -> None:
    assert judge(precision, found, [[[1, 2, 3]]]) == verdict
