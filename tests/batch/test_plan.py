"""Which rows share a batch, and how large it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from beamgen import Generator, Package
from beamgen.batch.job import Packing
from beamgen.batch.plan import pack
from beamgen.runtime.footprint import search_bytes
from beamgen.runtime.request import Request, batch_key, longest_beside, sees_padding

PLENTY = Packing(beams=1000, memory=1 << 40)


def _request(package: Package, length: int = 5, **settings: Any) -> Request:
    settings = {"max_new_tokens": 8, **settings}
    config = package.manifest.search.with_overrides(settings).for_prompt(length)
    return Request(tuple(range(3, 3 + length)), config)


def _lengths(package: Package, lengths: list[int], packing: Packing) -> list[list[int]]:
    requests = {i: _request(package, length) for i, length in enumerate(lengths)}
    return [[requests[i].read for i in batch] for batch in pack(requests, package, packing)]


@pytest.fixture
def package(packages: Callable[[str], Package]) -> Package:
    return packages("gpt2")


def test_rows_are_sorted_by_length(package: Package) -> None:
    assert _lengths(package, [9, 2, 7, 2, 9], replace(PLENTY, rows=2)) == [[2, 2], [7, 9], [9]]


def test_a_batch_ends_with_its_beams(package: Package) -> None:
    beams = package.manifest.search.num_beams
    packing = replace(PLENTY, beams=3 * beams + 1)
    assert [len(batch) for batch in _lengths(package, [4] * 7, packing)] == [3, 3, 1]
    assert len(_lengths(package, [4] * 2, replace(PLENTY, beams=1))) == 2, "a row has to be alone"


def test_a_batch_ends_with_its_memory(package: Package) -> None:
    config = _request(package, 40).config
    packing = replace(PLENTY, memory=search_bytes(package, 3, 40, config))
    assert [len(batch) for batch in _lengths(package, [40] * 7, packing)] == [3, 3, 1]


def test_short_rows_are_not_padded_to_long_ones(package: Package) -> None:
    batches = _lengths(package, [3] * 10 + [200], PLENTY)
    assert [len(batch) for batch in batches] == [10, 1]


def test_a_batch_ends_where_positions_do(package: Package) -> None:
    most = package.manifest.limits.max_positions
    requests = {
        0: _request(package, most - 20, max_new_tokens=20),
        1: _request(package, most - 16, max_new_tokens=16),
        2: _request(package, most - 17, max_new_tokens=16),
    }
    batches = list(pack(requests, package, PLENTY))
    assert batches == [[0], [2, 1]]
    assert longest_beside(requests[0], package.manifest) == most - 20


def test_long_searches_are_apart_from_short_ones(package: Package) -> None:
    requests = {i: _request(package, max_new_tokens=n) for i, n in enumerate((5, 100, 7, 90))}
    assert sorted(map(sorted, pack(requests, package, PLENTY))) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 2},
        {"num_return_sequences": 2},
        {"early_stopping": True},
        {"eos_token_id": (2, 3)},
        {"bad_words_ids": [[5, 9]]},
        {"do_sample": True},
        {"output_scores": True},
    ],
    ids=str,
)
def test_rows_that_share_a_batch_agree_in_what_it_shares(
    settings: dict[str, Any], package: Package
) -> None:
    other = _request(package, **settings)
    assert batch_key(other, package.manifest) != batch_key(_request(package), package.manifest)
    assert batch_key(other, package.manifest) == batch_key(
        _request(package, **settings), package.manifest
    )


def test_rows_of_a_batch_may_differ_in_the_rest(package: Package) -> None:
    settings = {"length_penalty": 2.0, "max_new_tokens": 4, "min_new_tokens": 3}
    other = _request(package, 9, **settings)
    assert batch_key(other, package.manifest) == batch_key(_request(package), package.manifest)
    lora = replace(other, lora="drugs")
    assert batch_key(lora, package.manifest) != batch_key(other, package.manifest)


def test_where_padding_is_seen_lengths_are_equal(package: Package) -> None:
    manifest = package.manifest
    penalised = [_request(package, length, repetition_penalty=1.2) for length in (4, 4, 5)]
    keys = [batch_key(each, manifest) for each in penalised]
    assert keys[0] == keys[1] != keys[2]
    assert not sees_padding(_request(package), manifest)
    for counts in (True, None):  # a file that does not tell may count it
        assert sees_padding(_request(package), replace(manifest, counts_padding=counts))
    source = replace(_request(package, repetition_penalty=1.2), source=(5, 9))
    assert not sees_padding(source, manifest), "a decoder behind an encoder is not padded"
    reading = _request(package, encoder_no_repeat_ngram_size=2)
    assert sees_padding(replace(reading, source=(5, 9)), manifest)


def test_rounded_activations_see_all(package: Package, quantized: Callable[..., Package]) -> None:
    """A hair's breadth moves a number to the next step, so that they see the padding, too."""
    assert sees_padding(_request(package), quantized("gpt2", "int8").manifest)


def test_a_switch_of_rope_parts_short_prompts_from_long_ones(package: Package) -> None:
    limits = replace(package.manifest.limits, recompute_boundary=32)
    manifest = replace(package.manifest, limits=limits)
    short, long = _request(package, 20), _request(package, 40)
    assert batch_key(short, manifest) != batch_key(long, manifest)
    assert longest_beside(short, manifest) == 32 - 8


def test_an_operator_s_rows_are_alone(contrib: Callable[..., Package]) -> None:
    package = contrib("gpt2")
    assert len(_lengths(package, [4] * 3, PLENTY)) == 3


def test_generators_read_prompts_before_they_load(package: Package) -> None:
    generator = Generator(package, load=False)
    request = generator.request([5, 9, 7], max_new_tokens=4)
    assert request.prompt == (5, 9, 7)
    assert request.config.max_new_tokens == 4
    assert "session" not in vars(generator)
    assert len(generator.answer([request, request])) == 2
