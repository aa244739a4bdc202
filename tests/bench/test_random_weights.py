"""Checkpoints of random weights, in the shapes that adapters know."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.architectures import ARCHITECTURES

from beamgen import BeamgenError, adapters, find_adapter
from beamgen.bench.random_weights import find_shape, random_checkpoint
from beamgen.checkpoint.auto_model import auto_model

#: Parameters of the checkpoints whose shapes these are, as their publishers count them.
PUBLISHED = {
    "llama": 1_235_814_400,
    "qwen2": 494_032_768,
    "gemma2": 2_614_341_888,
    "biogpt": 346_763_264,
    "bloom": 559_214_592,
    "gemma": 2_506_172_416,
    "gemma3": 999_885_952,
    "gpt2": 124_439_808,
    "gpt_neox": 162_322_944,
    "mistral": 7_248_023_552,
    "mixtral": 46_702_792_704,
    "olmo2": 1_484_916_736,
    "olmoe": 6_919_161_856,
    "opt": 125_239_296,
    "phi": 1_418_270_720,
    "qwen3": 596_049_920,
    "qwen3_moe": 30_532_122_624,
    "smollm3": 3_075_098_624,
    "t5": 60_506_624,
    "bart_seq2seq": 139_420_416,
    "mbart_seq2seq": 610_879_488,
    "pegasus": 569_748_480,
    "marian": 74_410_496,
    "m2m_100": 615_073_792,
    "bigbird_pegasus": 576_891_904,
    "longt5": 247_587_456,
    "whisper": 241_734_912,
    "blenderbot": 364_802_560,
    "blenderbot_small": 87_508_992,
    "led": 161_844_480,
}
#: Millions, where papers and model cards round.
ROUNDED = {
    "mvp": 406,
    "pegasus_x": 272,
    "plbart": 139,
    "switch_transformers": 619,
    "nllb_moe": 54_501,
}
#: Phi-3's shape is smaller than any that is published, and of UMT5's no count was found.
_NO_COUNT = {"phi3", "umt5"}
_FAST = ("llama", "qwen2", "gemma2")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in _FAST else pytest.mark.slow)
        for name in [*PUBLISHED, *ROUNDED]
    ],
)
def test_a_shape_is_that_of_the_published_model(name: str) -> None:
    import torch

    config = find_adapter(name).full_config()
    with torch.device("meta"):
        model = auto_model(config).from_config(config)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == PUBLISHED[name] if name in PUBLISHED else round(count / 1e6) == ROUNDED[name]


def test_every_shape_is_held_against_a_published_model() -> None:
    shapes = {each.name for each in adapters() if each.full_config() is not None}
    assert shapes == PUBLISHED.keys() | ROUNDED.keys() | _NO_COUNT


def test_shapes_are_those_of_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {each.name for each in adapters() if each.full_config() is not None}
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
