"""What the table of architectures says was compared is of the adapters as they are."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.architectures import INSTALLED
from support.pages import ROOT

from beamgen import DecoderAdapter, adapters, find_adapter

HOOK = runpy.run_path(str(ROOT / "scripts" / "docs" / "architectures.py"))
CASES = {"full": 96, "settings": 140}
#: Beam sampling with one beam alive: of the others' tokens, of probability 0, HF draws any.
DIVERGED = {("gpt_neo", "settings"): 1}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any], Path], str]:
    """The table of a record, without the features, which take long."""

    def make(record: dict[str, Any], folder: Path) -> str:
        file = folder / "record.json"
        file.write_text(json.dumps(record))
        names = HOOK["_table"].__globals__
        monkeypatch.setitem(names, "RECORD", file)
        monkeypatch.setitem(names, "features", lambda adapter: [])
        return "\n".join(HOOK["_table"]())

    return make


def _record(adapter: DecoderAdapter, source: str) -> dict[str, Any]:
    counts = {"full": {"exact": 96}, "settings": {"exact": 139, "near-tie": 1}}
    found = {"source": source, "processor": "CPU", **counts}
    return {"versions": {"torch": "2"}, "adapters": {adapter.name: found}}


def test_the_table_counts_what_was_found(table, tmp_path: Path) -> None:
    adapter = find_adapter("bart")
    made = table(_record(adapter, HOOK["digest"](adapter)), tmp_path)
    assert "`BartForCausalLM` |  | 96 of 96 | 139 of 140, 1 near-tie |" in made
    assert made.count("| not compared | not compared |") == len(adapters()) - 1
    assert made.endswith("Compared with torch 2, on CPU.")


def test_what_was_found_of_another_file_counts_for_nothing(table, tmp_path: Path) -> None:
    made = table(_record(find_adapter("bart"), "0123456789abcdef"), tmp_path)
    assert made.count("| not compared | not compared |") == len(adapters())


def test_a_file_that_is_shared_counts_too(tmp_path: Path, monkeypatch) -> None:
    """A digest is of all that an adapter has in its folder."""
    adapter = find_adapter("bart")
    before = HOOK["digest"](adapter)
    read = Path.read_text
    edited = {"_bart.py": "# edited\n"}
    monkeypatch.setattr(
        Path, "read_text", lambda path, **more: read(path, **more) + edited.get(path.name, "")
    )
    assert HOOK["digest"](adapter) != before


@pytest.mark.slow
def test_every_adapter_was_compared_as_it_is() -> None:
    """``python scripts/docs/adapter_parity.py`` compares those that changed."""
    record = json.loads(HOOK["RECORD"].read_text())["adapters"]
    for adapter in INSTALLED:
        found = record[adapter.name]
        assert found["source"] == HOOK["digest"](adapter), adapter.name
        for grid, cases in CASES.items():
            assert sum(found[grid].values()) == cases, (adapter.name, grid)
            apart = found[grid].get("diverged", 0)
            assert apart == DIVERGED.get((adapter.name, grid), 0), (adapter.name, grid)
            assert "nothing compared" not in found[grid], (adapter.name, grid)
