"""``docs/adapter-matrix.json`` holds what a run found of adapters that there are."""

from __future__ import annotations

import json

from support.pages import ROOT

from beamgen import adapters

#: In a row that was made with another one than the rest.
OTHER = "transformers"
COLUMNS = {"int8", "int4", "slots", "merge", "contrib", "genai", "triton", "web"}


def test_each_cell_of_the_record_works_or_is_refused_with_a_cure() -> None:
    record = json.loads((ROOT / "docs" / "adapter-matrix.json").read_text(encoding="utf-8"))
    rows = record["adapters"]
    assert rows
    assert rows.keys() <= {adapter.name for adapter in adapters()}
    for name, row in rows.items():
        assert row.keys() - {OTHER} <= COLUMNS, name
        assert row.get(OTHER) != record["versions"][OTHER], name
        for column in row.keys() & COLUMNS:
            cell = row[column]
            where = f"{name}, {column}: {cell}"
            assert cell["outcome"] in ("works", "refused"), where
            assert cell["said"], where
            assert bool(cell["cure"]) == (cell["outcome"] == "refused"), where
