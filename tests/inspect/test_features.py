"""Features are what a model does, not what its name says."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from beamgen import features, find_adapter
from beamgen.cli import main


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt2", ["absolute positions"]),
        ("llama", ["grouped keys", "rotary positions of any kind"]),
        ("bloom", ["ALiBi", "attends by itself"]),
        ("mistral", ["grouped keys", "rotary positions", "a window"]),
        (
            "gpt_oss",
            [
                "grouped keys",
                "rotary positions of any kind",
                "windows per layer",
                "experts",
                "sinks",
            ],
        ),
        ("gemma2", ["grouped keys", "rotary positions", "windows per layer", "soft caps"]),
        ("bart", ["absolute positions", "positions count padding"]),
        (
            "deepseek_v3",
            ["values of another width", "partial rotary positions of any kind", "experts"],
        ),
        ("gptj", ["rotary positions", "attends by itself"]),
    ],
)
def test_features_of(name: str, expected: list[str]) -> None:
    found = features(find_adapter(name))
    assert [each.removeprefix("partial ") for each in found] == [
        each.removeprefix("partial ") for each in expected
    ]


def test_list_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import beamgen

    shown = [find_adapter("llama"), find_adapter("mixtral")]
    monkeypatch.setattr(beamgen, "adapters", lambda: shown)
    told = CliRunner().invoke(main, ["list", "--features", "--json"])
    rows = {row["name"]: row["features"] for row in json.loads(told.stdout)["adapters"]}
    assert "experts" in rows["mixtral"]
    assert "experts" not in rows["llama"]
    assert "experts" in CliRunner().invoke(main, ["list", "--features"]).stdout
    plain = CliRunner().invoke(main, ["list", "--json"])
    assert "features" not in json.loads(plain.stdout)["adapters"][0]
