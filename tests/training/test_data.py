"""Rows of a wrong form are refused, and the lines named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.trainings import CHAT, EXAMPLES, ROWS, train, two_lines

from beamgen import BeamgenError

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([], "has no rows"),
        (["  ", ""], "has no rows"),
        ([ROWS[0], "", "{nonsense", "[1]"], "line 3 is no JSON"),
        ([ROWS[0], "", "{nonsense", "[1]"], "line 4 is list, not an object"),
        ([{"prompt": "x"}], "line 1 has the keys prompt"),
        ([{**ROWS[0], "id": 3}], "line 1 has the keys prompt, completion, id"),
        ([{"prompt": 3, "completion": " x"}], "line 1 has a prompt that is no text"),
        ([{"prompt": "x", "completion": "  "}], "line 1 has an empty completion"),
        ([ROWS[0], CHAT], "begins with a row of prompt and completion, but line 2 is of messages"),
        ([{"messages": "hello"}], "line 1 has no list of two messages"),
        ([{"messages": CHAT["messages"][:1]}], "line 1 has no list of two messages"),
        ([{"messages": CHAT["messages"][::-1]}], "line 1 ends with a message of 'user'"),
        ([{"messages": [{"role": "user"}] * 2}], "line 1 has a message 1 of other keys"),
        (["[]"] * 7, "line 5 is list, not an object; and 2 more lines"),
    ],
)
def test_rows_of_a_wrong_form_are_named(
    lines: list[Any], cause: str, rows: Callable[..., Path], tmp_path: Path
) -> None:
    path = rows(*lines)
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "out", data=path, eval_data=None)
    assert cause in two_lines(caught)
    assert str(path) in caught.value.cause
    assert [each.name for each in tmp_path.iterdir()] == ["rows.jsonl"]


def test_evaluation_rows_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError) as caught:
        train(tmp_path / "out", eval_data=EXAMPLES / "animals-chat.jsonl")
    assert "animals-chat.jsonl holds rows of messages, but" in two_lines(caught)
