"""How fast a search could be, in bytes to read and seconds."""

from __future__ import annotations

import pytest
from support.architectures import ARCHITECTURES

from beamgen import find_adapter
from beamgen.bench.floor import Reading, bytes_read, measure_bandwidth
from beamgen.bench.workload import Task
from beamgen.testing import tiny_model

TASK = Task(prompt_tokens=10, new_tokens=3, num_beams=5, batch_size=2, threads=1)


def test_the_floor_is_the_sum_over_steps() -> None:
    # 3 steps of 1000 bytes; 2 rows whose cache is 10, 11, then 12 tokens of 8 bytes
    expected = (3 * 1000 + 2 * 8 * (10 + 11 + 12)) / 100
    assert Reading(1000, 8).seconds(TASK, 100.0) == expected


def test_an_encoder_is_read_once() -> None:
    # its 10 tokens have keys and values in each step, behind the start and the tokens before
    expected = (500 + 3 * 1000 + 2 * 8 * (11 + 12 + 13)) / 100
    assert Reading(1000, 8, encoder=500).seconds(TASK, 100.0) == expected
    rounded = Reading(1000, 8, encoder=500).stored_in(600)
    assert rounded == Reading(400, 8, encoder=200)
    assert Reading(1000, 8).stored_in(600) == Reading(600, 8)


def test_a_token_s_cache_is_two_vectors_per_layer_and_head() -> None:
    adapter = find_adapter("phi3")
    found = bytes_read(adapter, tiny_model(adapter.tiny_config()))
    assert found.cache == 2 * 2 * 2 * 16 * 4  # K and V, L, Hkv, D, bytes


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tables_that_a_step_gathers_from_are_not_read(name: str) -> None:
    adapter = find_adapter(name)
    model = tiny_model(adapter.tiny_config())
    everything = sum(parameter.numel() for parameter in model.parameters())
    tables = {
        "gpt2": lambda: model.transformer.wpe.weight.numel(),
        "biogpt": lambda: model.biogpt.embed_positions.weight.numel(),
        "phi3": lambda: model.model.embed_tokens.weight.numel(),  # untied
    }[name]()
    assert bytes_read(adapter, model) == Reading(
        4 * (everything - tables), bytes_read(adapter, model).cache
    )


@pytest.mark.parametrize("name", ["t5", "bart_seq2seq"])
def test_what_an_encoder_needs_is_no_part_of_a_step(name: str) -> None:
    """Its layers, and the two products of each cross-attention; the tied head is a step's."""
    adapter = find_adapter(name)
    model = tiny_model(adapter.tiny_config())
    found = bytes_read(adapter, model)
    once = {
        own: parameter.numel()
        for own, parameter in model.named_parameters()
        if "encoder." in own.replace("encoder_attn", "")
        or "encoder_attn.k_proj" in own
        or "encoder_attn.v_proj" in own
        or "EncDecAttention.k" in own
        or "EncDecAttention.v" in own
    }
    tables = ("embed_positions", "relative_attention_bias")
    gathered = [own for own, _ in model.named_parameters() if any(each in own for each in tables)]
    assert found.encoder == 4 * sum(size for own, size in once.items() if own not in gathered)
    rest = sum(
        parameter.numel()
        for own, parameter in model.named_parameters()
        if own not in once and own not in gathered
    )
    assert found.weights == 4 * rest


def test_the_bandwidth_is_a_machine_s() -> None:
    assert 1e8 < measure_bandwidth(1, buffer_bytes=1 << 24) < 1e13
