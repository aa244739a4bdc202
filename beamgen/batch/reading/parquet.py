"""Parquet, by pyarrow: rows as Python's values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.batch.reading.rows import WINDOW_ROWS, InputRow, Scan, Window
from beamgen.errors import InputError, MissingExtraError, one_line

if TYPE_CHECKING:
    import pyarrow as pa


class ParquetReader:
    """Windows that follow each other are read in one stream, others from their row group on."""

    def __init__(self, path: Path) -> None:
        """See ``Reader``."""
        self.path = path
        self._next = -1  # the row at which the stream stands
        self._rows: Iterator[dict[str, Any]] = iter(())

    def scan(self) -> Scan:
        """See ``Reader``."""
        digest = hashlib.sha256()
        with self.path.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
            size = stream.tell()
        with self._file() as file:
            rows = file.metadata.num_rows
            names = tuple(file.schema_arrow.names)
        windows = tuple(
            Window(index, start + 1, min(WINDOW_ROWS, rows - start), start, start + WINDOW_ROWS)
            for index, start in enumerate(range(0, rows, WINDOW_ROWS))
        )
        return Scan(digest.hexdigest(), size, windows, names)

    def schema(self) -> pa.Schema:
        """Of the columns."""
        with self._file() as file:
            return file.schema_arrow

    def read(self, window: Window) -> Iterator[InputRow]:
        """See ``Reader``."""
        if self._next != window.start:
            self._rows, self._next = self._stream(window.start), window.start
        for number in range(window.first, window.first + window.rows):
            yield InputRow(number, next(self._rows))
            self._next += 1

    def _stream(self, start: int) -> Iterator[dict[str, Any]]:
        """Rows from one on."""
        pa = import_pyarrow()
        with self._file() as file:
            before = 0
            try:
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if before + rows <= start:
                        before += rows
                        continue
                    # each by itself: what is damaged behind it is not read ahead
                    for batch in file.iter_batches(batch_size=256, row_groups=[group]):
                        skipped = min(batch.num_rows, max(0, start - before))
                        before += batch.num_rows
                        yield from batch.slice(skipped).to_pylist()
            except (pa.ArrowException, OSError) as error:
                raise InputError(
                    f"{self.path} is damaged behind row {before:,}: {one_line(error, 160)}",
                    "write it again; what was searched so far is kept",
                ) from error

    def _file(self) -> Any:
        pa = import_pyarrow()
        from pyarrow import parquet

        try:
            return parquet.ParquetFile(self.path)
        except pa.ArrowException as error:
            raise InputError(
                f"{self.path} is no Parquet file, or was cut short: {one_line(error, 160)}",
                "write or copy it again; --input-format names another format",
            ) from error


def import_pyarrow() -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError("Parquet", "batch", error.name or "pyarrow") from error
    return pyarrow
