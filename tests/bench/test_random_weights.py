"""Checkpoints of random weights, in the shapes that adapters know."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.architectures import ARCHITECTURES

from beamgen import BeamgenError, adapters, find_adapter
from beamgen.bench.random_weights import find_shape, random_checkpoint
from beamgen.registry import is_encoder_decoder


def test_shapes_are_those_of_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoders = [each for each in adapters() if not is_encoder_decoder(each)]
    shapes = {each.name for each in decoders if each.full_config() is not None}
    assert set(ARCHITECTURES) <= shapes
    for each in adapters():
        if each.name in shapes:
            assert find_shape(each.name) is each
        else:
            with pytest.raises(BeamgenError, match="no shape called"):
                find_shape(each.name)
    assert find_shape(None).name == "gpt2", "the smallest"
    with pytest.raises(BeamgenError, match="did you mean gpt2"):
        find_shape("gpt-2")
    adapter = find_adapter("gpt2")
    monkeypatch.setattr(type(adapter), "full_config", lambda self: self.tiny_config())
    one, two = (random_checkpoint(adapter, tmp_path / name) for name in ("one", "two"))
    weights = [(folder / "model.safetensors").read_bytes() for folder in (one, two)]
    assert weights[0] == weights[1], "seeded"
