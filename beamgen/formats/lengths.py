"""The length of a search that checks what was written."""

from __future__ import annotations

from beamgen.settings.config import SearchConfig


def checked_tokens(search: SearchConfig, more: int) -> int:
    """``max_new_tokens`` that leaves a search some tokens more than it has to give."""
    return more + max(search.min_new_tokens or 0, search.min_length)
