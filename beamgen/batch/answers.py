"""What became of a row: its hypotheses, or why it was not searched."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from beamgen.errors import BeamgenError
from beamgen.runtime.generation import Generation

#: Of a hypothesis what every row has anyway, or what is there only where it was asked for.
_LEFT_OUT = ("prompt_ids",)
_OPTIONAL = ("token_log_probs", "beam_indices")


@dataclass(frozen=True)
class Answer:
    """What became of one row.

    Attributes:
        row: its number.
        hypotheses: best first; None where it failed.
        reason, fix: why it failed, and what to do.
    """

    row: int
    hypotheses: tuple[dict[str, Any], ...] | None = None
    reason: str | None = None
    fix: str | None = None

    @property
    def tokens(self) -> int:
        """How many were generated, of the best hypothesis."""
        return len(self.hypotheses[0]["token_ids"]) if self.hypotheses else 0

    def to_line(self) -> str:
        """A line of a shard."""
        values: dict[str, Any] = {"row": self.row}
        if self.hypotheses is None:
            values |= {"reason": self.reason, "fix": self.fix}
        else:
            values["hypotheses"] = self.hypotheses
        return json.dumps(values, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> Answer:
        """What ``to_line`` wrote."""
        values = json.loads(line)
        found = values.get("hypotheses")
        return cls(**{**values, "hypotheses": None if found is None else tuple(found)})


def answered(row: int, hypotheses: Sequence[Generation]) -> Answer:
    """A row that was searched."""
    return Answer(row, tuple(_hypothesis(each) for each in hypotheses))


def failed(row: int, error: BaseException) -> Answer:
    """A row that was not."""
    if isinstance(error, BeamgenError):
        return Answer(row, reason=error.cause, fix=error.cure)
    told = f"internal error: {type(error).__name__}: {error}".splitlines()[0][:300]
    return Answer(row, reason=told, fix="report it, with the row")


def _hypothesis(generation: Generation) -> dict[str, Any]:
    values = vars(generation)
    unasked = [name for name in _OPTIONAL if values[name] is None]
    kept = {name: v for name, v in values.items() if name not in (*_LEFT_OUT, *unasked)}
    return {name: _finite(value) for name, value in kept.items()}


def _finite(value: Any) -> Any:
    """JSON has no infinities."""
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
