"""Training data: a JSONL file whose rows are prompts and completions, or chats."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamgen.disk import local
from beamgen.errors import TrainingDataError, one_line

_SHOWN_PROBLEMS = 5
_PLAIN, CHAT = "prompt and completion", "messages"
_EXAMPLE = (
    'a row is {"prompt": "...", "completion": "..."} or '
    '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
)


@dataclass(frozen=True)
class TrainingData:
    """A JSONL file whose rows were checked.

    Attributes:
        path: the file.
        sha256: of its bytes.
        kind: ``prompt and completion``, or ``messages``.
        rows: the rows, each with the number of its line.
    """

    path: Path
    sha256: str
    kind: str
    rows: tuple[tuple[int, dict[str, Any]], ...]


def read_rows(path: str | os.PathLike[str]) -> TrainingData:
    """Read a JSONL file; blank lines are left out.

    Raises:
        TrainingDataError: the file cannot be read, is empty, or has rows of a wrong
            form, of which the first few are named.
    """
    file = local(path)
    try:
        content = file.read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise TrainingDataError(
            f"cannot read {file}: {error.strerror}", "name a JSONL file of training rows"
        ) from error
    except UnicodeDecodeError as error:
        raise TrainingDataError(f"{file} is not UTF-8 text", "save it as UTF-8") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise TrainingDataError(f"{file} has no rows", _EXAMPLE)
    read = [(number, *_parse(line)) for number, line in numbered]
    refuse_lines(file, [(number, wrong) for number, _, wrong in read if wrong], _EXAMPLE)
    rows = tuple((number, row) for number, row, _ in read)
    kind = _kind(rows[0][1])
    others = [(number, f"is of {_kind(row)}") for number, row in rows if _kind(row) != kind]
    cure = "keep one kind of row in a file"
    refuse_lines(file, others, cure, f"begins with a row of {kind}, but ")
    return TrainingData(file, hashlib.sha256(content).hexdigest(), kind, rows)


def check_same_kind(data: TrainingData, eval_data: TrainingData) -> None:
    """Hold the evaluation's rows to the form of the training's.

    Raises:
        TrainingDataError: one file holds chats, and the other plain text.
    """
    if data.kind != eval_data.kind:
        raise TrainingDataError(
            f"{eval_data.path} holds rows of {eval_data.kind}, but {data.path} of {data.kind}",
            "evaluate on rows of the kind that is trained",
        )


def refuse_lines(file: Path, wrong: Sequence[tuple[int, str]], cure: str, before: str = "") -> None:
    """Name the first wrong lines in one error, if there are any.

    Args:
        file: where they stand.
        wrong: the number of each line, and what is wrong with it.
        cure: what to do about them.
        before: what the message begins with.

    Raises:
        TrainingDataError: there are some.
    """
    if not wrong:
        return
    listed = "; ".join(f"line {number} {problem}" for number, problem in wrong[:_SHOWN_PROBLEMS])
    more = len(wrong) - _SHOWN_PROBLEMS
    rest = f"; and {more} more lines" if more > 0 else ""
    raise TrainingDataError(f"{file}: {before}{listed}{rest}", cure)


def _kind(row: dict[str, Any]) -> str:
    return CHAT if "messages" in row else _PLAIN


def _parse(line: str) -> tuple[dict[str, Any], str]:
    """The row of one line, and what is wrong with it: nothing, where that is empty."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, f"is no JSON ({one_line(error, 80)})"
    if not isinstance(row, dict):
        return {}, f"is {type(row).__name__}, not an object"
    if set(row) == {"prompt", "completion"}:
        return row, _wrong_texts(row)
    if set(row) == {"messages"}:
        return row, _wrong_messages(row["messages"])
    return row, f"has the keys {', '.join(row) or 'none'}"


def _wrong_texts(row: dict[str, Any]) -> str:
    wrong = [name for name, text in row.items() if not isinstance(text, str)]
    if wrong:
        return f"has a {' and a '.join(wrong)} that is no text"
    return "" if row["completion"].strip() else "has an empty completion"


def _wrong_messages(messages: Any) -> str:
    if not isinstance(messages, list) or len(messages) < 2:
        return "has no list of two messages or more"
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            return f'has a message {number} of other keys than "role" and "content"'
        if not all(isinstance(text, str) for text in message.values()):
            return f"has a message {number} whose role or content is no text"
    last = messages[-1]
    if last["role"] != "assistant":
        return f"ends with a message of '{last['role']}', not of 'assistant'"
    return "" if last["content"].strip() else "has an empty last message"
