"""Folders of other runtimes, changed or looked at by tests of formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from beamgen import Packaged


def with_model(folder: Path, target: Path, **model: Any) -> Path:
    """The same decoder, with other values in the config's ``model``."""
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"] |= model
    target.mkdir()
    (target / "genai_config.json").write_text(json.dumps(config))
    (target / "model.onnx").symlink_to(folder / "model.onnx")
    return target


def check_verified(done: Packaged) -> None:
    """All that could be looked at holds; a server and tritonclient may be missing."""
    assert done.exit_code == 0, done.checks
    unseen = [check.what for check in done.checks if check.passed is None]
    assert all("not installed" in what for what in unseen)
