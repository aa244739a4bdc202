"""Files of prompts, and what one-by-one searches make of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beamgen import BeamgenError, Generator
from beamgen.runtime.generation import Generation

_TOLERANCE = 1e-4


def token_rows(
    count: int, vocab_size: int, seed: int = 0, longest: int = 24
) -> list[dict[str, Any]]:
    """Rows with prompts of mixed length as token ids."""
    rng = np.random.default_rng(seed)
    return [
        {"id": i, "ids": rng.integers(3, vocab_size, size=1 + rng.integers(longest)).tolist()}
        for i in range(count)
    ]


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """One object a line."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """What ``write_jsonl`` wrote, or a job."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def one_by_one(
    generator: Generator, rows: Sequence[Mapping[str, Any]], column: str, **settings: Any
) -> list[list[Generation] | BeamgenError]:
    """The plain loop that ``batch`` is measured by."""
    found: list[list[Generation] | BeamgenError] = []
    for row in rows:
        own = {name: v for name, v in row.items() if name not in (column, "id") and v is not None}
        try:
            found.extend(generator.generate([row[column]], **{**settings, **own}))
        except BeamgenError as error:
            found.append(error)
    return found


def check_same(results: Sequence[Mapping[str, Any]], alone: Sequence[list[Generation]]) -> None:
    """Tokens and ends equal, and scores but for rounding."""
    assert len(results) == len(alone)
    for result, expected in zip(results, alone, strict=True):
        assert len(result["hypotheses"]) == len(expected) > 0, result["row"]
        for found, own in zip(result["hypotheses"], expected, strict=True):
            assert found["token_ids"] == own.token_ids, result["row"]
            assert found["finish_reason"] == own.finish_reason
            assert found["score"] == pytest.approx(own.score, rel=_TOLERANCE, abs=_TOLERANCE)
            assert found["text"] == own.text
            assert found["new_text"] == own.new_text
            if own.token_log_probs is not None:
                log_probs = pytest.approx(own.token_log_probs, rel=_TOLERANCE, abs=_TOLERANCE)
                assert found["token_log_probs"] == log_probs
                assert found["beam_indices"] == own.beam_indices
