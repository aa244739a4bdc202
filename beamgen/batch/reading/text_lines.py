"""TXT: a prompt on each line. JSONL: an object on each line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beamgen.batch.reading.lines import Line, lines
from beamgen.batch.reading.rows import InputRow, Scan, Window, WindowMaker

#: The one column of a TXT file.
TEXT = "text"


class _Lines:
    """A file whose rows are lines; a row's number is its line's."""

    skips_blank = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def scan(self) -> Scan:
        """See ``Reader``."""
        digest, maker, size, number = hashlib.sha256(), WindowMaker(1, 0), 0, 0
        with self.path.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
            stream.seek(0)
            for number, line in enumerate(lines(stream), 1):  # told below
                size = line.stop
                if self._is_row(line):
                    maker.add(number, size)
            maker.close(number + 1, size)
        return Scan(digest.hexdigest(), size, tuple(maker.windows), self.columns())

    def columns(self) -> tuple[str, ...] | None:
        """Of the format."""
        return None

    def read(self, window: Window) -> Iterator[InputRow]:
        """See ``Reader``."""
        with self.path.open("rb") as stream:
            stream.seek(window.start)
            for number, line in enumerate(lines(stream, window.stop), window.first):
                if not self._is_row(line):
                    continue
                try:
                    yield InputRow(number, self._values(line.text()))
                except ValueError as error:
                    yield InputRow(number, problem=str(error))

    def _is_row(self, line: Line) -> bool:
        return not self.skips_blank or bool(line.content.strip())

    def _values(self, text: str) -> dict[str, Any]:
        raise NotImplementedError


class TextReader(_Lines):
    """Prompts as plain text, one a line."""

    def columns(self) -> tuple[str, ...]:
        """``text`` alone."""
        return (TEXT,)

    def _values(self, text: str) -> dict[str, Any]:
        return {TEXT: text}


class JsonLinesReader(_Lines):
    """Objects, one a line; blank lines are no rows."""

    skips_blank = True

    def _values(self, text: str) -> dict[str, Any]:
        try:
            values = json.loads(text)
        except RecursionError:
            raise ValueError("no JSON: nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"no JSON: {error}") from None
        if not isinstance(values, dict):
            raise ValueError(f"a line is an object, not {type(values).__name__}")
        return values
