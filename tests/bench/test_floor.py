"""How fast a search could be, in bytes to read and seconds."""

from __future__ import annotations

import pytest
from support.architectures import ARCHITECTURES

from beamgen import find_adapter
from beamgen.bench.floor import bytes_per_step, bytes_per_token, floor_seconds, measure_bandwidth
from beamgen.bench.workload import Task
from beamgen.testing import tiny_model


def test_the_floor_is_the_sum_over_steps() -> None:
    # 3 steps of 1000 bytes; 2 rows whose cache is 10, 11, then 12 tokens of 8 bytes
    task = Task(prompt_tokens=10, new_tokens=3, num_beams=5, batch_size=2, threads=1)
    assert floor_seconds(1000, 8, task, 100.0) == (3 * 1000 + 2 * 8 * (10 + 11 + 12)) / 100


def test_a_token_s_cache_is_two_vectors_per_layer_and_head() -> None:
    adapter = find_adapter("phi3")
    geometry = adapter.kv_geometry(adapter.tiny_config())
    assert bytes_per_token(geometry) == 2 * 2 * 2 * 16 * 4  # K and V, L, Hkv, D, bytes


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tables_that_a_step_gathers_from_are_not_read(name: str) -> None:
    config = find_adapter(name).tiny_config()
    model = tiny_model(config)
    everything = sum(parameter.numel() for parameter in model.parameters())
    tables = {
        "gpt2": lambda: model.transformer.wpe.weight.numel(),
        "biogpt": lambda: model.biogpt.embed_positions.weight.numel(),
        "phi3": lambda: model.model.embed_tokens.weight.numel(),  # untied
    }[name]()
    assert bytes_per_step(model) == 4 * (everything - tables)


def test_the_bandwidth_is_a_machine_s() -> None:
    assert 1e8 < measure_bandwidth(1, buffer_bytes=1 << 24) < 1e13
