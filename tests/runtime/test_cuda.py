"""The CUDA provider runs the loop file. Unproven where there is no GPU: these tests skip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from support.architectures import ARCHITECTURES

from beamgen import Generator, Package

CUDA = "CUDAExecutionProvider"

pytestmark = pytest.mark.skipif(
    CUDA not in onnxruntime.get_available_providers(),
    reason="unproven here: that CUDA runs a loop file, with the CPU's tokens "
    "(needs a GPU and pip install 'beamgen[cuda]')",
)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cuda_gives_the_tokens_of_the_cpu(
    architecture: str, packages: Callable[[str], Package]
) -> None:
    package = packages(architecture)
    cpu, cuda = (
        Generator(package, providers=providers)
        for providers in (["CPUExecutionProvider"], [CUDA, "CPUExecutionProvider"])
    )
    assert cuda.session.get_providers()[0] == CUDA
    prompts = [[5, 6, 7, 8], [9, 10]]
    settings = {"num_beams": 5, "num_return_sequences": 5, "max_new_tokens": 24}
    expected, found = (generator.generate(prompts, **settings) for generator in (cpu, cuda))
    for row, other in zip(expected, found, strict=True):
        assert [g.token_ids for g in other] == [g.token_ids for g in row]
        scores = [[g.score for g in rows] for rows in (other, row)]
        np.testing.assert_allclose(*scores, rtol=1e-3)
