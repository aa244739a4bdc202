"""Triton: what cannot be joined or served is refused by name, with nothing written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beamgen import (
    BeamgenError,
    Package,
    package_as,
)

SAMPLING = {"num_beams": 1, "do_sample": True, "num_return_sequences": 2, "eos_token_id": (2,)}


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"batching": "simpel"}, "no batching called 'simpel'"),
        ({"batching": "simple", "inputs": ["seed"]}, "inputs cannot be set"),
        ({"batching": "simple", "settings": {"num_beams": 2}}, "num_beams cannot be set"),
        ({"max_batch_size": 0}, "joins nothing"),
        ({"inputs": ["max_new_token"]}, "no parameter called 'max_new_token'"),
        ({"inputs": ["num_beams"]}, "num_beams is one for all rows"),
        ({"inputs": ["temperature"]}, "temperature would change nothing"),
        ({"inputs": ["length_penalty"], "settings": {"num_beams": 1}}, "would change nothing"),
        ({"inputs": ["top_k"], "settings": SAMPLING}, "without a seed of its own"),
        ({"settings": {"temperature": 2.0}}, "temperature would change nothing"),
        ({"settings": {"eos_token_id": 500}}, "eos_token_id holds 500"),
        ({"settings": {"max_new_tokens": 5000}, "inputs": []}, "the model has"),
        ({"settings": {"max_length": 9}, "inputs": []}, "max_length counts the prompt"),
        ({"settings": {"min_length": 9}}, "min_length counts the prompt"),
        ({"settings": {"nonsense": 1}}, "nonsense"),
        ({"nonsense": 1}, "the triton format takes no nonsense"),
        ({"batching": "ragged", "inputs": ["repetition_penalty"]}, "reads a prompt's padding"),
        ({"batching": "ragged", "settings": {"no_repeat_ngram_size": 2}}, "no_repeat_ngram_size"),
        ({"batching": "ragged", "settings": {"forced_bos_token_id": 2}}, "forced_bos_token_id"),
        ({"batching": "ragged", "inputs": ["forced_bos_token_id"]}, "forced_bos_token_id reads"),
        (
            {"batching": "ragged", "settings": {"encoder_no_repeat_ngram_size": 2}},
            "encoder_no_repeat_ngram_size reads",
        ),
        (
            {"batching": "ragged", "settings": {"pad_token_id": 1, "bad_words_ids": [[1, 5]]}},
            "with the pad id",
        ),
        ({"lora": "drugs"}, "no slots for LoRAs"),
    ],
)
def test_what_cannot_be_is_refused_with_nothing_written(
    options: dict[str, Any], cause: str, packages: Callable[[str], Package], tmp_path: Path
) -> None:
    with pytest.raises(BeamgenError, match=cause):
        package_as(packages("gpt2"), "triton", tmp_path / "model", **options)
    assert not any(tmp_path.iterdir())


def test_positions_that_count_padding_are_not_joined_across_lengths(
    packages: Callable[[str], Package], tmp_path: Path
) -> None:
    package = packages("gpt2")
    counting = replace(package, manifest=replace(package.manifest, counts_padding=True))
    with pytest.raises(BeamgenError, match="positions count padding"):
        package_as(counting, "triton", tmp_path / "model", batching="ragged")


def test_longrope_is_not_joined_across_its_boundary(
    packages: Callable[[str], Package], tmp_path: Path
) -> None:
    package = packages("gpt2")
    limits = replace(package.manifest.limits, recompute_boundary=20)
    bounded = replace(package, manifest=replace(package.manifest, limits=limits))
    with pytest.raises(BeamgenError, match="LongRoPE"):
        package_as(bounded, "triton", tmp_path / "model", batching="ragged")
