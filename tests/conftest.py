"""Tiny seeded checkpoints and the packages made of them, once per test session."""

from __future__ import annotations

import os

# Tiny models gain nothing from threads, and lose to each other's spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test reaches for the network.
os.environ["HF_HUB_OFFLINE"] = "1"

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import transformers
from filelock import FileLock
from support.architectures import OPERATORS

from beamgen import Generator, Package, export, find_adapter, open_package
from beamgen.testing import tiny_model

#: Fixtures and hooks of modules of their own.
pytest_plugins = [
    "support.lora_packages",
    "support.quantized_packages",
    "support.ruled_packages",
    "support.skips",
    "support.text_packages",
    "support.trainings",
    "support.web_site",
]

#: Minutes each: they begin first, so that no worker waits for another in the end.
LONGEST = (
    "docs/test_commands_run.py",
    "runtime/test_contrib.py",
    "search/test_loop.py",
    "training/test_end_to_end.py",
)

transformers.logging.set_verbosity_error()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/search/golden anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> str:
        return item.path.relative_to(Path(__file__).parent).as_posix()

    foreign = "transformers_5" if transformers.__version__.startswith("4.") else "transformers_4"
    items[:] = [item for item in items if item.get_closest_marker(foreign) is None]
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(0))
    items.sort(key=lambda item: place(item) not in LONGEST)
    items.sort(key=lambda item: place(item) != LONGEST[0])


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``once("kind/name", make)``: a folder written once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        made, making = root / name, root / "making" / name
        made.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{made}.lock"):
            if not made.exists():
                shutil.rmtree(making, ignore_errors=True)
                making.parent.mkdir(parents=True, exist_ok=True)
                make(making)
                making.rename(made)
        return made

    return folder


@pytest.fixture(scope="session")
def checkpoints(once: Callable[..., Path]) -> Callable[[str], Path]:
    """``checkpoints("gpt2")``: folder of a tiny random checkpoint without a tokenizer."""

    @cache
    def make(name: str) -> Path:
        config = find_adapter(name).tiny_config()
        return once(f"checkpoints/{name}", lambda to: tiny_model(config).save_pretrained(to))

    return make


@pytest.fixture(scope="session")
def packages(
    once: Callable[..., Path], checkpoints: Callable[[str], Path]
) -> Callable[[str], Package]:
    """``packages("gpt2")``: the package of that checkpoint; treat it as read-only."""

    @cache
    def make(name: str) -> Package:
        folder = once(f"packages/{name}", lambda to: export(checkpoints(name), to, parity=False))
        return open_package(folder)

    return make


@pytest.fixture(scope="session")
def generators(packages: Callable[[str], Package]) -> Callable[[str], Generator]:
    """``generators("gpt2")``: of that package, loaded once."""
    return cache(lambda name: Generator(packages(name)))


@pytest.fixture(scope="session")
def demos(once: Callable[..., Path]) -> Callable[[str], Package]:
    """``demos("gpt2")``: the package of the demo checkpoint; treat it as read-only."""

    @cache
    def make(name: str) -> Package:
        folder = once(f"demos/{name}", lambda to: export(None, to, model_class=name, parity=False))
        return open_package(folder)

    return make


@pytest.fixture(scope="session")
def contrib(
    once: Callable[..., Path], checkpoints: Callable[[str], Path]
) -> Callable[..., Package]:
    """``contrib("gpt2", "BeamSearch")``; treat it as read-only."""

    @cache
    def make(name: str, operator: str = "BeamSearch") -> Package:
        settings = {"max_new_tokens": 10, "eos_token_id": 2, **OPERATORS[operator]}
        options = {"parity": False, "backend": "contrib", "settings": settings}
        folder = once(
            f"contrib/{name}-{operator}", lambda to: export(checkpoints(name), to, **options)
        )
        return open_package(folder)

    return make
