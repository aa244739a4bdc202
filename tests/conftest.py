"""Tiny seeded checkpoints and the packages made of them, once per test session."""

from __future__ import annotations

import os

# Tiny models gain nothing from threads, and lose to each other's spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test reaches for the network.
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from beamgen import Package, export, find_adapter
from beamgen.testing import tiny_model

ARCHITECTURES = ("gpt2", "biogpt", "phi3")

#: Settings that choose each of ONNX Runtime's operators.
OPERATORS = {
    "BeamSearch": {"num_beams": 4},
    "GreedySearch": {"num_beams": 1},
    "Sampling": {"num_beams": 1, "do_sample": True, "top_k": 0},
}

#: Minutes each: they begin first, so that no worker waits for another in the end.
LONGEST = ("test_readme.py", "test_contrib.py", "test_loop.py", "test_lora_end_to_end.py")

transformers.logging.set_verbosity_error()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)
    items.sort(key=lambda item: item.path.name != LONGEST[0])


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``checkpoints("gpt2")``: folder of a tiny random checkpoint without a tokenizer."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("checkpoint") / name
            tiny_model(find_adapter(name).tiny_config()).save_pretrained(made[name])
        return made[name]

    return make


@pytest.fixture(scope="session")
def packages(
    checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Package]:
    """``packages("gpt2")``: the package of that checkpoint; treat it as read-only."""
    made: dict[str, Package] = {}

    def make(name: str) -> Package:
        if name not in made:
            folder = tmp_path_factory.mktemp("package") / name
            made[name] = export(checkpoints(name), folder, parity=False).package
        return made[name]

    return make


@pytest.fixture(scope="session")
def contrib(
    checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Package]:
    """``contrib("gpt2", "BeamSearch")``; treat it as read-only."""
    folder = tmp_path_factory.mktemp("contrib")
    made: dict[tuple[str, str], Package] = {}

    def make(name: str, operator: str = "BeamSearch") -> Package:
        if (name, operator) not in made:
            made[name, operator] = export(
                checkpoints(name),
                folder / f"{name}-{operator}",
                parity=False,
                backend="contrib",
                settings={"max_new_tokens": 10, "eos_token_id": 2, **OPERATORS[operator]},
            ).package
        return made[name, operator]

    return make
