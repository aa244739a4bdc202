"""Folders for onnxruntime-genai, written once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from beamgen import (
    Package,
    Packaged,
    export,
    package_as,
)

og = pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed")


@pytest.fixture(scope="session")
def folders(
    packages: Callable[[str], Package], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Packaged]:
    """``folders("gpt2")``: that package for genai; treat it as read-only."""
    made: dict[str, Packaged] = {}

    def make(name: str) -> Packaged:
        if name not in made:
            folder = tmp_path_factory.mktemp("genai") / name
            made[name] = package_as(packages(name), "genai", folder)
        return made[name]

    return make


@pytest.fixture(scope="session")
def phi3_demo(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    folder = tmp_path_factory.mktemp("phi3")
    made = export(model_class="Phi3ForCausalLM", output=folder / "phi3-onnx", parity=False)
    return package_as(made.package, "genai", folder / "phi3-genai")
