"""Packages under the rules of each release of transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from beamgen import Generator, Package, export, open_package


@pytest.fixture(scope="session")
def ruled(
    once: Callable[..., Path], checkpoints: Callable[[str], Path]
) -> Callable[[str], Package]:
    """``ruled("5.24")``: a package of the tiny GPT-2; treat it as read-only."""

    @cache
    def make(release: str) -> Package:
        options = {"parity": False, "rules": release, "settings": {"max_new_tokens": 8}}
        folder = once(f"ruled/{release}", lambda to: export(checkpoints("gpt2"), to, **options))
        return open_package(folder)

    return make


@pytest.fixture(scope="session")
def ruled_generators(ruled: Callable[[str], Package]) -> Callable[[str], Generator]:
    """``ruled_generators("5.24")``: of that package, loaded once."""
    return cache(lambda release: Generator(ruled(release)))
