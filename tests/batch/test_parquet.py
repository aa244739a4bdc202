"""Parquet, in and out."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from beamgen.batch.reading import parquet as reading
from beamgen.batch.reading.parquet import ParquetReader
from beamgen.errors import InputError, MissingExtraError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
from pyarrow import parquet  # noqa: E402 # behind the skip


def _write(path: Path, rows: int = 10, group: int = 4) -> Path:
    table = pa.table(
        {
            "text": [f"prompt {i}" for i in range(rows)],
            "ids": [[i, i + 1] for i in range(rows)],
            "when": [datetime.date(2020, 1, 1 + i % 28) for i in range(rows)],
        }
    )
    parquet.write_table(table, path, row_group_size=group)
    return path


@pytest.mark.parametrize("window_rows", [1, 3, 4, 2048])
def test_windows_across_row_groups(
    window_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "WINDOW_ROWS", window_rows)
    reader = ParquetReader(_write(tmp_path / "a.parquet"))
    scan = reader.scan()
    assert scan.columns == ("text", "ids", "when")
    streamed = [row for window in scan.windows for row in reader.read(window)]
    assert [row.number for row in streamed] == list(range(1, 11))
    assert [row.values["text"] for row in streamed] == [f"prompt {i}" for i in range(10)]
    for window in reversed(scan.windows):
        found = list(ParquetReader(reader.path).read(window))
        assert found == streamed[window.first - 1 : window.first - 1 + window.rows]


def test_a_file_that_was_cut_short(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is no Parquet file, or was cut short"):
        ParquetReader(path).scan()


def test_a_row_group_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"prompt {i} " * 50 for i in range(400)]})
    parquet.write_table(table, path, row_group_size=200, compression="gzip", use_dictionary=False)
    content = bytearray(path.read_bytes())
    start = parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content[start : start + 400] = b"\xff" * 400
    path.write_bytes(content)
    reader = ParquetReader(path)
    (window,) = reader.scan().windows
    found = []
    with pytest.raises(InputError, match="is damaged behind row 200"):
        found.extend(row for row in reader.read(window))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError) as error:
        reading.import_pyarrow()
    assert error.value.cure == "pip install 'beamgen[batch]'"
