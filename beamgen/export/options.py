"""Keyword arguments that a ``TypedDict`` describes are checked as Python checks its own."""

from __future__ import annotations

from collections.abc import Mapping


def check_options(function: str, options: Mapping[str, object], known: type) -> None:
    """Refuse a keyword argument that a function does not have.

    Raises:
        TypeError: in Python's own words.
    """
    unknown = options.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"{function}() got an unexpected keyword argument '{min(unknown)}'")
