"""The formats of prompts, by what their files are called."""

from __future__ import annotations

from pathlib import Path

from beamgen.batch.reading.csv_file import CsvReader, TsvReader
from beamgen.batch.reading.parquet import ParquetReader
from beamgen.batch.reading.rows import Reader
from beamgen.batch.reading.text_lines import JsonLinesReader, TextReader
from beamgen.errors import InputError

READERS: dict[str, type[Reader]] = {
    "jsonl": JsonLinesReader,
    "csv": CsvReader,
    "tsv": TsvReader,
    "txt": TextReader,
    "parquet": ParquetReader,
}
_SUFFIXES = {"ndjson": "jsonl", "json": "jsonl", "pq": "parquet", "text": "txt"}


def format_of(path: Path, asked: str | None = None) -> str:
    """The format of a file: the one that was asked for, or that its name says.

    Raises:
        InputError: its name says none.
    """
    suffix = path.suffix.lower().removeprefix(".")
    name = asked or _SUFFIXES.get(suffix, suffix)
    if name not in READERS:
        raise InputError(
            f"{path} names no format that is read: {', '.join(READERS)}",
            "name it so, or pass --input-format",
        )
    return name


def reader_of(path: Path, format: str) -> Reader:
    """A reader of a file that is there.

    Raises:
        InputError: it is no file, or may not be read.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path} is no file", "name a file of prompts")
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the path") from error
    return READERS[format](path)
