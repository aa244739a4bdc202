"""CSV and TSV with a header. Python's own reader: one bad byte is one bad row to it."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from beamgen.batch.reading.lines import LONGEST_LINE, lines
from beamgen.batch.reading.rows import InputRow, Scan, Window, WindowMaker
from beamgen.errors import InputError


class CsvReader:
    """Cells are texts; a row's number counts those behind the header."""

    delimiter = ","

    def __init__(self, path: Path) -> None:
        """See ``Reader``."""
        self.path = path

    def scan(self) -> Scan:
        """See ``Reader``."""
        digest = hashlib.sha256()
        with self.path.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
            size = stream.tell()
            stream.seek(0)
            records = _Records(self.path, stream, self.delimiter, size)
            header = self._header(next(records, None))
            maker, number = WindowMaker(1, records.place), 0
            for number, record in enumerate(records, 1):  # noqa: B007 # told below
                maker.add(number, records.place)
            maker.close(number + 1, records.place)
        return Scan(digest.hexdigest(), size, tuple(maker.windows), header)

    def read(self, window: Window) -> Iterator[InputRow]:
        """See ``Reader``."""
        with self.path.open("rb") as stream:
            header = self._header(
                next(_Records(self.path, stream, self.delimiter, window.stop), None)
            )
            stream.seek(window.start)
            records = _Records(self.path, stream, self.delimiter, window.stop)
            for number, cells in enumerate(records, window.first):
                yield _row(number, header, cells)

    def _header(self, cells: list[str] | None) -> tuple[str, ...]:
        """The names of columns.

        Raises:
            InputError: there are none, they are no text, or two have one name.
        """
        if not cells:
            raise InputError(f"{self.path} has no header", "name the columns in its first line")
        wrong = [cell for cell in cells if _undecoded(cell) is not None or cells.count(cell) > 1]
        if wrong:
            named = wrong[0].encode("utf-8", "backslashreplace").decode()
            raise InputError(
                f"{self.path} has a header with {named!r:.60}, which is no UTF-8 or stands twice",
                "give each column a name of its own, in UTF-8",
            )
        return tuple(cells)


class TsvReader(CsvReader):
    """The same with tabs."""

    delimiter = "\t"


class _Records(Iterator[list[str]]):
    """Records of a CSV file, and where each ends; bytes that are no UTF-8 stay apart."""

    def __init__(self, path: Path, stream: BinaryIO, delimiter: str, stop: int) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
        self.place = self._begun = stream.tell()
        self._path, self._stream, self._stop = path, stream, stop
        self._reader = csv.reader(self._texts(), delimiter=delimiter)

    def __next__(self) -> list[str]:
        """The next that is not blank."""
        while True:
            self._begun = self.place
            try:
                cells = next(self._reader)
            except csv.Error as error:
                raise InputError(
                    f"{self._path} is no CSV behind byte {self._begun:,}: {error}",
                    "write it with a library, or as JSONL",
                ) from None
            if cells:
                return cells

    def _texts(self) -> Iterator[str]:
        for line in lines(self._stream, self._stop):
            self.place = line.stop
            if self.place - self._begun > LONGEST_LINE:
                raise InputError(
                    f"{self._path} has a row of more than {LONGEST_LINE:,} bytes behind byte "
                    f"{self._begun:,}",
                    "close the quote that is open there, or write it as JSONL",
                )
            yield line.content.decode("utf-8", "surrogateescape")


def _row(number: int, header: tuple[str, ...], cells: list[str]) -> InputRow:
    if len(cells) != len(header):
        problem = f"it has {len(cells)} cells, and the header names {len(header)} columns"
        return InputRow(number, problem=problem)
    for name, cell in zip(header, cells, strict=True):
        byte = _undecoded(cell)
        if byte is not None:
            return InputRow(number, problem=f"not UTF-8: byte 0x{byte:02X} in {name}")
    return InputRow(number, dict(zip(header, cells, strict=True)))


def _undecoded(cell: str) -> int | None:
    """The first byte that was no UTF-8."""
    found = (ord(c) - 0xDC00 for c in cell if 0xDC80 <= ord(c) <= 0xDCFF)
    return next(found, None)
