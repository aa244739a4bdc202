"""What tokens add to a text, with a tokenizer of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest

from beamgen.tokenizer.added_text import text_added, token_text

END = 256


class Bytes:
    """A token is a byte, or the end; the first word loses the space before it."""

    special_tokens: ClassVar = {END: "</s>"}

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        shown = bytes(i for i in ids if i != END).decode(errors="replace")
        return shown.removeprefix(" ")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"aspirin is", b" a drug"),
        (b"", b" a drug"),
        (b"na", "ïve".encode()),
        ("a \N{REPLACEMENT CHARACTER}".encode(), b"b"),
        ("日".encode()[:2], "日".encode()[2:]),
    ],
)
def test_the_text_before_and_what_is_added_are_the_whole(before: bytes, after: bytes) -> None:
    added = text_added(Bytes(), [*before], [*after, END])
    shown = Bytes().decode([*before])
    whole = Bytes().decode([*before, *after])
    assert whole in (shown + added, shown.rstrip("\N{REPLACEMENT CHARACTER}") + added)


def test_a_character_comes_with_its_last_byte() -> None:
    text, ids = token_text(Bytes()), [*"a日".encode()]
    read = [text(ids[:i], token) for i, token in enumerate(ids)]
    assert read[0] == "a"
    assert read[-1] == "日"
    assert set("".join(read[1:-1])) <= {"\N{REPLACEMENT CHARACTER}"}


def test_special_tokens_are_spelled() -> None:
    assert token_text(Bytes())([*b"a"], END) == "</s>"
    assert token_text(None)([1, 2], 3) == "[3]"
