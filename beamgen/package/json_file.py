"""JSON files that somebody else may have written: each is bounded before it is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beamgen.errors import one_line

#: Bytes of the largest file that is read; the largest manifests have some hundred thousand.
_LARGEST = 16 * 2**20


class JsonError(ValueError):
    """A file that holds no JSON table; the message is its reason, in one line."""


def read_json(path: Path) -> dict[str, Any]:
    """The table that a JSON file holds.

    Raises:
        JsonError: it is too large, no JSON, no table, or says something twice.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise JsonError(f"it is larger than {_LARGEST >> 20} MiB")
    return parse_table(content)


def parse_table(content: bytes | str) -> dict[str, Any]:
    """The table of a JSON text in UTF-8.

    Raises:
        JsonError: see ``read_json``.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        values = json.loads(text, object_pairs_hook=_once)
        if "\\u" in text:  # an escape may stand for half a character, which nothing can print
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except JsonError:
        raise
    except RecursionError as error:
        raise JsonError("it is nested too deep") from error
    except ValueError as error:  # no UTF-8, no JSON, or a number of too many digits
        raise JsonError(one_line(error)) from error
    if not isinstance(values, dict):
        raise JsonError("it holds no table")
    return values


def to_text(values: dict[str, Any]) -> str:
    """A table as JSON, for people, too."""
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A table that has each of its keys once."""
    table = dict(pairs)
    if len(table) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise JsonError(f"{twice!r:.60} stands in it twice")
    return table
