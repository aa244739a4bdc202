"""Configs that bend positions: LongRoPE's two sides, and sliding windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beamgen import (
    BeamgenError,
    Generator,
    Package,
    check_parity,
    export,
    find_adapter,
    open_checkpoint,
)
from beamgen.parity.report import ParityCase
from beamgen.testing import tiny_model


def _phi3(**changes):
    config = find_adapter("phi3").tiny_config()
    return type(config).from_dict({**config.to_dict(), **changes})


@pytest.fixture(scope="module")
def long_rope(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Package]:
    """Short factors up to 16 positions, long ones beyond; 64 in all."""
    folder = tmp_path_factory.mktemp("longrope")
    scaling = {
        "type": "longrope",
        "short_factor": [1.0 + 0.05 * i for i in range(8)],
        "long_factor": [2.0 + 0.5 * i for i in range(8)],
    }
    config = _phi3(
        max_position_embeddings=64, original_max_position_embeddings=16, rope_scaling=scaling
    )
    tiny_model(config).save_pretrained(folder / "checkpoint")
    package = export(folder / "checkpoint", folder / "package", parity=False).package
    return folder / "checkpoint", package


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Package]:
    """Each token sees itself and the seven before it."""
    folder = tmp_path_factory.mktemp("window")
    tiny_model(_phi3(sliding_window=8)).save_pretrained(folder / "checkpoint")
    package = export(folder / "checkpoint", folder / "package", parity=False).package
    return folder / "checkpoint", package


def _cases(lengths: list[int], prompt_len: int, new: int) -> Callable[..., list[ParityCase]]:
    def grid(package: Package, likely, seed: int) -> list[ParityCase]:
        rng = np.random.default_rng(prompt_len)
        prompts = tuple(tuple(rng.integers(3, 96, size=n).tolist()) for n in lengths)
        config = replace(
            package.manifest.search,
            num_return_sequences=5,
            max_new_tokens=new,
            eos_token_id=(2, *likely(prompts)[:1]),
        )
        return [ParityCase("positions", prompts, prompt_len, config)]

    return grid


@pytest.mark.parametrize(
    ("lengths", "prompt_len", "new"),
    [([6], 6, 10), ([4, 6], 6, 10), ([20], 20, 12), ([17, 24], 24, 16)],
    ids=["short", "short left-padded", "long", "long left-padded"],
)
def test_long_rope_is_exact_on_either_side(
    long_rope: tuple[Path, Package], lengths: list[int], prompt_len: int, new: int
) -> None:
    folder, package = long_rope
    grid = _cases(lengths, prompt_len, new)
    report = check_parity(package, open_checkpoint(folder), grid=grid)
    assert report.verdict == "exact", report.to_json()["partings"]


def test_long_rope_refuses_to_cross(long_rope: tuple[Path, Package]) -> None:
    generator = Generator(long_rope[1])
    with pytest.raises(BeamgenError, match="from 10 to 17 tokens across 16") as error:
        generator.generate([list(range(3, 13))], max_new_tokens=7)
    assert "max_new_tokens to 6 or less" in error.value.cure
    generator.generate([list(range(3, 13))], max_new_tokens=6)


def test_a_prompt_of_exactly_the_boundary_is_told_what_helps(
    long_rope: tuple[Path, Package],
) -> None:
    """No number of new tokens would."""
    generator = Generator(long_rope[1])
    with pytest.raises(BeamgenError, match="from 16 to 17 tokens across 16") as error:
        generator.generate([list(range(3, 19))], max_new_tokens=1)
    assert error.value.cure == "shorten the prompt, or use a prompt of more than 16 tokens"
    generator.generate([list(range(3, 18))], max_new_tokens=1)
    generator.generate([list(range(3, 20))], max_new_tokens=1)


def test_the_two_sides_differ(long_rope: tuple[Path, Package], tmp_path: Path) -> None:
    """So that the test above cannot pass with one side's factors on both."""
    folder, _ = long_rope
    checkpoint = open_checkpoint(folder)
    checkpoint.config.rope_scaling["long_factor"] = checkpoint.config.rope_scaling["short_factor"]
    checkpoint.load_model().save_pretrained(tmp_path / "same")
    config = open_checkpoint(tmp_path / "same").config
    config.rope_scaling["long_factor"] = config.rope_scaling["short_factor"]
    config.save_pretrained(tmp_path / "same")
    package = export(tmp_path / "same", tmp_path / "package", parity=False).package
    report = check_parity(package, checkpoint=open_checkpoint(folder), grid=_cases([20], 20, 12))
    assert report.verdict == "diverged"


@pytest.mark.parametrize(
    ("lengths", "prompt_len", "new"),
    [([4], 4, 20), ([12], 12, 12), ([3, 9, 12], 12, 12), ([2, 5], 5, 16)],
    ids=["grows over it", "prompt over it", "left-padded", "short left-padded"],
)
def test_a_sliding_window_is_exact(
    windowed: tuple[Path, Package], lengths: list[int], prompt_len: int, new: int
) -> None:
    folder, package = windowed
    assert package.manifest.limits.attention_window == 8
    grid = _cases(lengths, prompt_len, new)
    report = check_parity(package, open_checkpoint(folder), grid=grid)
    assert report.verdict == "exact", report.to_json()["partings"]


def test_without_the_window_the_answer_is_another(
    windowed: tuple[Path, Package], packages: Callable[[str], Package]
) -> None:
    """The same seeded weights without a window: the window has to matter."""
    folder, _ = windowed
    report = check_parity(packages("phi3"), open_checkpoint(folder), grid=_cases([12], 12, 12))
    assert report.verdict == "diverged"
