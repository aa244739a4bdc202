"""Files of prompts are read in windows, and a bad row is one bad row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beamgen.batch.reading import csv_file, lines, rows
from beamgen.batch.reading.formats import format_of, reader_of
from beamgen.batch.reading.rows import InputRow
from beamgen.errors import InputError


def _read(path: Path, format: str | None = None) -> list[InputRow]:
    reader = reader_of(path, format_of(path, format))
    scan = reader.scan()
    found = [row for window in scan.windows for row in reader.read(window)]
    assert len(found) == scan.rows
    assert scan.size == path.stat().st_size
    # a window by itself, as another machine reads it
    backwards = [
        list(reader_of(path, format_of(path, format)).read(window))
        for window in reversed(scan.windows)
    ]
    assert [row for window in reversed(backwards) for row in window] == found
    return found


@pytest.fixture(params=[1, 3, 2048])
def window_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Windows of any size hold the same rows."""
    monkeypatch.setattr(rows, "WINDOW_ROWS", request.param)
    return request.param


def test_lines_of_text(tmp_path: Path, window_rows: int) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xef\xbb\xbfa bird\r\n\n caf\xc3\xa9 \nbad \xff byte\nlast")
    found = _read(path)
    assert [row.number for row in found] == [1, 2, 3, 4, 5]
    assert [row.values.get("text") for row in found] == ["a bird", "", " café ", None, "last"]
    assert found[3].problem == "not UTF-8: byte 0xFF at 5"


def test_lines_of_json(tmp_path: Path, window_rows: int) -> None:
    path = tmp_path / "prompts.jsonl"
    good = {"text": "a\nb", "id": 7, "ids": [1, 2], "odd": None}
    lines = [
        json.dumps(good),
        "",
        "{nonsense",
        "[1]",
        '{"text": "\\ud800"}',
        "  ",
        json.dumps(good),
    ]
    path.write_text("\n".join(lines) + "\n")
    found = _read(path)
    assert [row.number for row in found] == [1, 3, 4, 5, 7], "blank lines are no rows"
    assert found[0].values == found[-1].values == good
    assert (found[1].problem or "").startswith("no JSON: ")
    assert found[2].problem == "a line is an object, not list"
    assert found[3].problem is None, "what the text is worth the tokenizer says"


def test_json_nested_too_deeply_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"text": "a"}\n' + "[" * 100_000 + "\n")
    assert (_read(path)[1].problem or "").startswith("no JSON")


def test_csv_with_quotes_over_lines(tmp_path: Path, window_rows: int) -> None:
    path = tmp_path / "prompts.csv"
    path.write_bytes(
        b'id,text\r\n1,"two\r\nlines, ""quoted"""\r\n2,short,3\r\n\r\n3,bad \xff\r\n4,\xc3\xa9\r\n'
    )
    found = _read(path)
    assert [row.number for row in found] == [1, 2, 3, 4]
    assert found[0].values == {"id": "1", "text": 'two\r\nlines, "quoted"'}
    assert found[1].problem == "it has 3 cells, and the header names 2 columns"
    assert found[2].problem == "not UTF-8: byte 0xFF in text"
    assert found[3].values == {"id": "4", "text": "é"}


def test_tabs(tmp_path: Path) -> None:
    path = tmp_path / "prompts.tsv"
    path.write_text("id\ttext\n1\ta, b\n")
    assert _read(path)[0].values == {"id": "1", "text": "a, b"}


def test_a_line_of_a_megabyte_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a" * (1 << 20) + "\nb\n")
    assert [len(row.values["text"]) for row in _read(path)] == [1 << 20, 1]


def test_a_line_without_end_is_one_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    path = tmp_path / "prompts.txt"
    path.write_text("a" * 5000 + "\nb\n")
    found = _read(path)
    assert found[0].problem == "the line has 5,001 bytes, more than 100"
    assert found[1].values == {"text": "b"}


def test_an_open_quote_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "LONGEST_LINE", 100)
    path = tmp_path / "prompts.csv"
    path.write_text('text\n"open\n' + "a line\n" * 100)
    with pytest.raises(InputError, match="more than 100 bytes behind byte 5") as error:
        _read(path)
    assert "close the quote" in error.value.cure


def test_big_rows_make_small_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "WINDOW_BYTES", 50)
    path = tmp_path / "prompts.txt"
    path.write_text(f"{'a' * 30}\n" * 10)
    windows = reader_of(path, "txt").scan().windows
    assert [window.rows for window in windows] == [2] * 5
    _read(path)


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.csv", b"", "has no header"),
        ("a.csv", b"text,text\n1,2\n", "stands twice"),
        ("a.csv", b"te\xffxt\n1\n", "no UTF-8"),
    ],
)
def test_headers_that_name_no_columns(
    name: str, content: bytes, cause: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=cause):
        _read(tmp_path / name)


def test_names_without_a_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no format that is read: jsonl, csv"):
        format_of(Path("prompts.xlsx"))
    assert format_of(Path("prompts.dat"), "txt") == "txt"
    assert format_of(Path("PROMPTS.NDJSON")) == "jsonl"
    with pytest.raises(InputError, match="is no file"):
        reader_of(tmp_path, "txt")
