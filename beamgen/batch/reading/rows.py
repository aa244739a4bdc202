"""What readers give: rows, windows of them, and what a file is as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

#: Rows of a window, which are sorted by length together, and bytes after which it ends early.
WINDOW_ROWS, WINDOW_BYTES = 2048, 1 << 25


@dataclass(frozen=True)
class InputRow:
    """One row of a file.

    Attributes:
        number: of its line, or of the row behind a header; from 1.
        values: by column.
        problem: why it cannot be read, if so; ``values`` is then empty.
    """

    number: int
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Window:
    """Consecutive rows, which are planned together.

    Attributes:
        index: from 0.
        first: the number of its first row.
        rows: how many there are.
        start, stop: where it lies in the file: bytes, or rows of a Parquet file.
    """

    index: int
    first: int
    rows: int
    start: int
    stop: int


@dataclass(frozen=True)
class Scan:
    """What one pass over a file tells.

    Attributes:
        sha256: of its bytes.
        size: in bytes.
        windows: all of them.
        columns: where the format has a list of them.
    """

    sha256: str
    size: int
    windows: tuple[Window, ...]
    columns: tuple[str, ...] | None = None

    @property
    def rows(self) -> int:
        """Of all windows."""
        return sum(window.rows for window in self.windows)


class Reader(Protocol):
    """A file of prompts of one format."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""

    def scan(self) -> Scan:
        """Go through the file once.

        Raises:
            InputError: it is not of the format at all.
        """

    def read(self, window: Window) -> Iterator[InputRow]:
        """The rows of a window.

        Raises:
            InputError: the file is damaged there.
        """


class WindowMaker:
    """Divides rows into windows as they come."""

    def __init__(self, first: int, start: int) -> None:
        """Begin with the first row's number and place."""
        self.windows: list[Window] = []
        self._first, self._start, self._rows = first, start, 0

    def add(self, number: int, stop: int) -> None:
        """Take a row that ends at ``stop``."""
        self._rows += 1
        if self._rows == WINDOW_ROWS or stop - self._start >= WINDOW_BYTES:
            self.close(number + 1, stop)

    def close(self, first: int, stop: int) -> None:
        """End a window, if it has rows."""
        if self._rows:
            index = len(self.windows)
            self.windows.append(Window(index, self._first, self._rows, self._start, stop))
        self._first, self._start, self._rows = first, stop, 0
