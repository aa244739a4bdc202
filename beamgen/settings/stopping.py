"""The setting ``stop_strings``: a search ends where one has been written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from beamgen.settings.automaton import PARTS
from beamgen.settings.kinds import Arrays, Kind
from beamgen.settings.parameter import Parameter, Problem
from beamgen.settings.setting import HISTORY, SampleIds, Setting
from beamgen.settings.stop_strings import StopStrings


@dataclass(frozen=True)
class _StopStringsKind(Kind):
    """``StopStrings`` or None; in the graph their automaton."""

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        """See ``Kind``."""
        if value is None or isinstance(value, StopStrings):
            return
        if isinstance(value, str | list | tuple):
            cause = f"{name} {value!r:.60} take a tokenizer, and are not built into a file"
            yield cause, f"give them when generating; to export without, --set {name}=default"
            return
        yield f"{name} must be strings, not {value!r:.60}", 'for example ["\\n\\n"]'

    def canonical(self, value: Any) -> Any:
        """An empty list is none."""
        return None if isinstance(value, list | tuple) and not value else value

    def parameters(self, name: str, meaning: str, per_row: bool) -> tuple[Parameter, ...]:
        """See ``Kind``."""
        return (
            Parameter("stop_states", "int32", ("n", "3"), "row, first target, has come; or none"),
            Parameter("stop_rows", "int32", ("n", "3"), "first edge, edges, all others' target"),
            Parameter("stop_edges", "int32", ("n", "2"), "a token and its target"),
            Parameter("stop_next", "int32", ("n",), "states that targets lead to"),
        )

    def arrays(self, name: str, value: Any) -> Arrays:
        """See ``Kind``."""
        if value is None:
            shapes = {"states": (0, 3), "rows": (0, 3), "edges": (0, 2), "next": (0,)}
            return {f"stop_{part}": np.zeros(shape, np.int32) for part, shape in shapes.items()}
        return {f"stop_{part}": getattr(value.automaton, part) for part in PARTS}

    def to_hf(self, value: Any) -> list[str]:
        """See ``Kind``."""
        return list(value.strings)


def _sample(ids: SampleIds) -> StopStrings | None:
    """Beginnings and ends of what tokens write, some across the border between two."""
    texts = ids.texts
    drawn = [texts[token] for token in ids.drawn(12) if token < len(texts)]
    pieces = [text for text in drawn if text and "\N{REPLACEMENT CHARACTER}" not in text]
    if not pieces:
        return None
    ends = [text[-1] for text in pieces[:2]]
    across = [a[-1] + b[:1] for a, b in pairwise(pieces)]
    return StopStrings.of([*ends, *across], texts, len(texts))


SETTING = Setting(
    "stop_strings",
    _StopStringsKind(),
    "strings that end a text when they have come",
    sample=_sample,
    reads=(HISTORY,),
)
