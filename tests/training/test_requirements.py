"""A method that cannot run here is refused before a checkpoint is read."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from support.trainings import EXAMPLES, WITHOUT_BITSANDBYTES, two_lines

from beamgen import BeamgenError, finetune

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.mark.parametrize(("method", "missing"), [("lora", "peft"), ("qlora", "bitsandbytes")])
def test_a_missing_package_is_named_before_anything_is_read(
    method: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == missing else find_spec(name, *rest),
    )
    with pytest.raises(BeamgenError) as caught:
        finetune("nowhere", "nothing.jsonl", tmp_path / "out", method=method)
    assert f"--method {method} needs the package '{missing}'" in two_lines(caught)
    assert caught.value.cure == "pip install 'beamgen[finetune]'"


def test_bitsandbytes_that_cannot_quantize_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functional = pytest.importorskip("bitsandbytes.functional", reason=WITHOUT_BITSANDBYTES)

    def broken(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no kernel for 'cpu'")

    monkeypatch.setattr(functional, "quantize_4bit", broken)
    with pytest.raises(BeamgenError) as caught:
        finetune("nowhere", EXAMPLES / "drugs.jsonl", tmp_path / "out", method="qlora")
    assert "--method qlora cannot run on this machine" in two_lines(caught)
    assert "no kernel for 'cpu'" in caught.value.cause
