"""README and the pages of ``docs/``, and the code blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r'^```(\w+)(?: title="(\S+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: as it is named behind the fence.
        title: the file that it is, or "".
        code: what stands in it.
    """

    language: str
    title: str
    code: str


def read_page(name: str) -> str:
    """The text of ``README.md`` or ``docs/....md``."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str, *, titled: bool = False) -> Iterator[Block]:
    """Its blocks in a language, in order: those that are whole files, or the others."""
    for found in _BLOCK.findall(read_page(name)):
        block = Block(*found)
        if block.language == language and bool(block.title) == titled:
            yield block


def table_below(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of a page's text, row by row."""
    below = page.split(f"# {heading}\n", 1)[1]
    table = re.search(r"^\|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", below, re.MULTILINE)
    assert table is not None, f"no table below {heading}"
    return [
        [cell.strip() for cell in row.strip().strip("|").split("|")]
        for row in table[1].splitlines()
    ]
