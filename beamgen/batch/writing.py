"""The final files: rows with their hypotheses in input order, and those that failed."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from beamgen.batch.answers import Answer
from beamgen.batch.folder import writing_to
from beamgen.batch.reading.parquet import ParquetReader, import_pyarrow
from beamgen.batch.reading.rows import InputRow, Reader, Window
from beamgen.disk import replacing
from beamgen.errors import BatchError, one_line

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns that are added, and what one of an input must not be called.
ROW, HYPOTHESES = "row", "hypotheses"
ADDED = (ROW, HYPOTHESES)

FAILED = "failed.jsonl"
RESULTS = {"jsonl": "results.jsonl", "parquet": "results.parquet"}

Rows = Iterator[tuple[InputRow, Answer]]


def write_final(
    folder: Path,
    format: str,
    reader: Reader,
    windows: Sequence[Window],
    answers_of: Callable[[int], Mapping[int, Answer]],
) -> dict[str, int]:
    """Join rows and answers, window by window, and write both files, each in one rename.

    Args:
        folder: where.
        format: ``jsonl`` or ``parquet``.
        reader: of the input.
        windows: all of it.
        answers_of: those of a window.

    Returns:
        The size of each file, by name.

    Raises:
        BatchError: columns of the rows have no common type in Parquet.
    """

    def joined() -> Rows:
        for window in windows:
            answers = answers_of(window.index)
            for row in reader.read(window):
                yield row, answers[row.number]

    results = folder / RESULTS[format]
    with contextlib.ExitStack() as stack:
        stack.enter_context(writing_to(folder))
        failures = stack.enter_context(replacing(folder / FAILED))
        with failures.open("w", encoding="utf-8") as stream, replacing(results) as partial:
            if format == "parquet":
                _write_parquet(partial, stream, reader, windows, joined())
            else:
                with partial.open("w", encoding="utf-8") as lines:
                    for row, hypotheses in _searched(joined(), stream):
                        values = {**row.values, ROW: row.number, HYPOTHESES: hypotheses}
                        lines.write(_line(values))
    return {path.name: path.stat().st_size for path in (results, folder / FAILED)}


def _searched(rows: Rows, failures: TextIO) -> Iterator[tuple[InputRow, tuple[Any, ...]]]:
    """Rows that have hypotheses; the others are written among the failures."""
    for row, answer in rows:
        if answer.hypotheses is not None:
            yield row, answer.hypotheses
        else:
            failures.write(_line({ROW: row.number, "reason": answer.reason, "fix": answer.fix}))


def _line(values: Mapping[str, Any]) -> str:
    try:
        return _dumped(values)
    except (TypeError, ValueError):  # numbers that are none, or keys that JSON has no word for
        return _dumped(_finite(values))


def _dumped(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"


def _finite(value: Any) -> Any:
    """Numbers that are none as null, and keys as texts."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    """What a Parquet file holds and JSON has no word for."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _write_parquet(
    path: Path, failures: TextIO, reader: Reader, windows: Sequence[Window], rows: Rows
) -> None:
    """Row groups of one window each."""
    pa = import_pyarrow()
    from pyarrow import parquet

    carried = reader.schema() if isinstance(reader, ParquetReader) else _inferred(reader, windows)
    schema = pa.schema([*carried, (ROW, pa.int64()), (HYPOTHESES, pa.list_(_hypothesis()))])
    with parquet.ParquetWriter(path, schema) as writer:
        piece: list[dict[str, Any]] = []
        for row, hypotheses in _searched(rows, failures):
            piece.append({**row.values, ROW: row.number, HYPOTHESES: list(hypotheses)})
            if len(piece) == 2048:
                writer.write_table(pa.Table.from_pylist(piece, schema))
                piece = []
        writer.write_table(pa.Table.from_pylist(piece, schema))


def _hypothesis() -> pa.DataType:
    pa = import_pyarrow()
    return pa.struct(
        [
            ("text", pa.string()),
            ("new_text", pa.string()),
            ("token_ids", pa.list_(pa.int64())),
            ("score", pa.float64()),
            ("finish_reason", pa.string()),
            ("token_log_probs", pa.list_(pa.float64())),
            ("beam_indices", pa.list_(pa.int64())),
        ]
    )


def _inferred(reader: Reader, windows: Sequence[Window]) -> pa.Schema:
    """What the columns of a text format are, over all rows.

    Raises:
        BatchError: no type holds all values of a column.
    """
    pa = import_pyarrow()
    schema = pa.schema([])
    for window in windows:
        values = [dict(row.values) for row in reader.read(window) if row.problem is None]
        names = dict.fromkeys(name for row in values for name in row)
        for name in names:
            column = [row.get(name) for row in values]
            try:
                own = pa.schema([(name, pa.array(column).type)])
                schema = pa.unify_schemas([schema, own], promote_options="permissive")
            except pa.ArrowException as error:
                raise BatchError(
                    f"column '{name}' has values of several types, which Parquet cannot hold: "
                    f"{one_line(error, 120)}",
                    "pass --format jsonl into another folder, or make them one type",
                ) from error
    return schema
