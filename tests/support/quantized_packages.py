"""Packages of tiny checkpoints in fewer bits, proved as they were made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from beamgen import Package, export, open_package
from beamgen.quantization.record import BYTES

CONTRIB = {"max_new_tokens": 10, "eos_token_id": 2, "num_beams": 4, "length_penalty": 0.0}


@pytest.fixture(scope="session")
def quantized(
    once: Callable[..., Path], checkpoints: Callable[[str], Path]
) -> Callable[..., Package]:
    """``quantized("gpt2", "int8")``: of the tiny checkpoint, proved; treat it as read-only.

    Unsigned where they are bytes, which every CPU adds exactly.
    """

    def make(name: str, precision: str, backend: str = "loop") -> Package:
        settings = CONTRIB if backend == "contrib" else {}
        options = {"precision": precision, "backend": backend, "settings": settings}
        options |= {"int8_weights": "u8"} if precision in BYTES else {}
        folder = once(
            f"quantized/{name}-{precision}-{backend}",
            lambda to: export(checkpoints(name), to, **options),
        )
        return open_package(folder)

    return make
