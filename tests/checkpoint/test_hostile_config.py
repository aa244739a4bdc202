"""Values in a config.json that no model can be made of: refused by name, before hours of work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beamgen import BeamgenError, PositionLimits, export
from beamgen.adapter import AdapterError


@pytest.mark.parametrize(
    ("name", "field", "value", "cause"),
    [
        ("gpt2", "n_layer", 2**31, "n_layer in the config.json"),
        ("phi3", "num_hidden_layers", 2**63, "num_hidden_layers in the config.json"),
        ("gpt2", "num_labels", 10**9, "num_labels in the config.json"),
        ("gpt2", "architectures", 5, "architectures in the config.json"),
        ("gpt2", "pruned_heads", 1, "pruned_heads in the config.json"),
        ("gpt2", "text_config", {}, "cannot read the config"),
        ("gpt2", "vocab_size", {}, "cannot read the config"),
        ("gpt2", "resid_pdrop", [1], "transformers makes no model of the config.json"),
        ("gpt2", "activation_function", 0.5, "transformers makes no model of the config.json"),
        ("gpt2", "n_head", ["a"], "transformers makes no model of the config.json"),
        ("phi3", "hidden_act", {}, "transformers makes no model of the config.json"),
        ("phi3", "max_position_embeddings", {"a": 1}, "max_positions"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_name(
    name: str, field: str, value: Any, cause: str, checkpoints: Callable, tmp_path: Path
) -> None:
    shutil.copytree(checkpoints(name), tmp_path / "ck")
    config = json.loads((tmp_path / "ck" / "config.json").read_text())
    (tmp_path / "ck" / "config.json").write_text(json.dumps({**config, field: value}))
    # the classes of transformers 5 say it themselves
    with pytest.raises(BeamgenError, match=f"{cause}|Validation error for field '{field}'"):
        export(tmp_path / "ck", tmp_path / "out", parity=False)
    assert [path.name for path in tmp_path.iterdir()] == ["ck"]


@pytest.mark.parametrize("link", [False, True])
def test_a_generation_config_that_is_no_file_is_refused(
    link: bool, checkpoints: Callable, tmp_path: Path
) -> None:
    shutil.copytree(checkpoints("gpt2"), tmp_path / "ck")
    file = tmp_path / "ck" / "generation_config.json"
    file.unlink()
    if link:
        file.symlink_to("nothing")
    else:
        file.mkdir()
    with pytest.raises(BeamgenError, match=r"generation_config\.json of .* is no file"):
        export(tmp_path / "ck", tmp_path / "out", parity=False)


@pytest.mark.parametrize("value", [None, "many", [None], {}, 2**63, 1.5])
def test_limits_are_numbers(value: Any) -> None:
    with pytest.raises(AdapterError, match="max_positions"):
        PositionLimits(value)
    PositionLimits(5, None, 3)
