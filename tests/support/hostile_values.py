"""Values that no field expects, as hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

#: With what UTF-8 has not, what is not seen, and what joins what stands beside it.
TEXTS = st.text(
    st.characters(exclude_categories=())
    | st.sampled_from("\ud800\udcff\udfff\0\x1b\r\n\u202e\u0301\u200d\ufeff\ufffe😀")
)

_WHOLE = st.sampled_from(
    [-1, 0, 1, 2, 3, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63),
     10**30, 10**400]
)  # fmt: skip
_NUMBERS = st.sampled_from(
    [0.0, -0.0, 0.5, 1.0, -1.5, 1e-45, 1e30, 1e300, float("inf"), float("-inf"), float("nan")]
)
_TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", "null", "true", "5", "../x", "/", "\0", "\ud800", "a" * 10_000, "gelu", "default", "{}"]
)

#: Of JSON; Python reads and writes infinities and NaN as JSON, too.
SCALARS = st.none() | st.booleans() | _WHOLE | _NUMBERS | _TEXTS

VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)


def changes(names: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    """One or two fields of a table with other values."""
    return st.dictionaries(st.sampled_from(sorted(names)), VALUES, min_size=1, max_size=2)


def run(
    strategy: st.SearchStrategy[Any],
    drawn: int,
    check: Callable[[Any], None],
    *,
    shrink: bool = True,
) -> None:
    """The same values each time; others come with more of them.

    Args:
        strategy: draws them.
        drawn: how many.
        check: fails on what it must not do.
        shrink: whether a failing one is made smaller, for which it runs many times.
    """
    settings(
        max_examples=drawn,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=list(HealthCheck),
    )(given(strategy)(check))()
