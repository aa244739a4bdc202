"""``docs/beamgen.schema.json`` is true of every manifest that is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from support.pages import ROOT
from support.peft_folders import save_lora

from beamgen import Package, convert_lora, export
from beamgen.adapter import KVGeometry, PositionLimits
from beamgen.cli import main
from beamgen.lora.slots import Slot
from beamgen.package.manifest import Encoder, Manifest
from beamgen.quantization.record import Precision, Quality
from beamgen.seq2seq_adapter import TaskTokens

SCHEMA = json.loads((ROOT / "docs" / "beamgen.schema.json").read_text(encoding="utf-8"))


def _check(folder: Path) -> dict[str, Any]:
    values = json.loads((folder / "beamgen.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(SCHEMA).validate(values)
    return values


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("record", "part"),
    [
        (Manifest, SCHEMA),
        (PositionLimits, SCHEMA["$defs"]["limits"]),
        (KVGeometry, SCHEMA["$defs"]["cache"]),
        (Encoder, SCHEMA["$defs"]["encoder"]),
        (TaskTokens, SCHEMA["$defs"]["tasks"]),
        (Slot, SCHEMA["$defs"]["slot"]),
        (Precision, SCHEMA["$defs"]["precision"]),
        (Quality, SCHEMA["$defs"]["quality"]),
    ],
)
def test_it_has_every_field_of_a_record(record: type, part: dict[str, Any]) -> None:
    names = {field.name for field in fields(record)}
    assert names == set(part["properties"])
    # which beamgen 0.1 did not write, or a decoder alone has not
    later = {
        Manifest: {"rules", "cache", "encoder", "counts_padding"},
        Slot: {"shared"},
        Precision: {"in_bytes", "bytes_weights"},
        Encoder: {"prepends_start", "tasks"},
    }
    assert names - set(part["required"]) == later.get(record, set())


def test_every_field_has_a_meaning() -> None:
    for part in [SCHEMA, *SCHEMA["$defs"].values()]:
        for name, field in part.get("properties", {}).items():
            assert field.get("description"), name


def test_a_loop_package(packages: Callable[[str], Package]) -> None:
    assert _check(packages("gpt2").folder)["parity"] is None


def test_a_package_of_an_encoder_decoder(packages: Callable[[str], Package]) -> None:
    assert _check(packages("t5").folder)["encoder"]["decoder_start_token_id"] == 0


@pytest.mark.parametrize("operator", ["BeamSearch", "GreedySearch", "Sampling"])
def test_a_contrib_package(contrib: Callable[..., Package], operator: str) -> None:
    assert _check(contrib("gpt2", operator).folder)["backend"] == "contrib"


def test_a_package_with_lora_slots(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    """And a verdict of the command ``parity``, which says more than that of an export."""
    done = export(checkpoints("gpt2"), tmp_path / "slots", lora_slots=[], parity=False)
    lora = save_lora(checkpoints("gpt2"), tmp_path / "lora")
    convert_lora(done.package, lora, parity=False)
    command = ["parity", "-m", str(tmp_path / "slots"), "--lora", "lora"]
    assert CliRunner().invoke(main, command).exit_code == 0
    values = _check(tmp_path / "slots")
    assert values["lora_slots"]
    assert values["loras"]["lora"]["parity"]["grid"] == "quick"


@pytest.mark.parametrize(
    ("name", "precision", "cases"),
    # the quick grid, and, where the config has a window, that of a small model of it
    [("gpt2", "int8", 12), ("biogpt", "int4", 12), ("phi3", "fp16", 20)],
)
def test_a_package_in_fewer_bits(
    quantized: Callable[..., Package], name: str, precision: str, cases: int
) -> None:
    values = _check(quantized(name, precision).folder)
    assert values["precision"]["name"] == precision
    assert values["parity"]["cases"] == cases


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"backend": "other"}, "other"),
        ({"vocab_size": "96"}, "96"),
        ({"further": 1}, "further"),
        ({"files": {}}, "model.onnx"),
    ],
)
def test_what_is_no_manifest_is_refused(
    packages: Callable[[str], Package], change: dict[str, Any], what: str
) -> None:
    values = json.loads((packages("gpt2").folder / "beamgen.json").read_text(encoding="utf-8"))
    with pytest.raises(jsonschema.ValidationError, match=what):
        jsonschema.Draft202012Validator(SCHEMA).validate({**values, **change})
