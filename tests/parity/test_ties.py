"""Scores that tie: no divergence, and called a near-tie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.onnx_functions import initializers

from beamgen import check_parity, open_checkpoint, open_package
from beamgen.package.folder import write_manifest
from beamgen.parity.report import ParityCase, Verdict
from beamgen.settings.config import SearchConfig


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_a_tie_at_the_last_step_is_no_divergence(
    tokens: int, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """Past the last step every running beam is dead, and the dead tie in any order."""
    import torch

    from beamgen import export

    model = open_checkpoint(checkpoints("gpt2")).load_model()
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        embedding[48:96] = embedding[0:48]  # every token has a twin
    model.save_pretrained(tmp_path / "twins")
    package = export(tmp_path / "twins", tmp_path / "package", parity=False).package

    def grid(package, likely, seed):
        base = package.manifest.search
        config = replace(base, num_beams=2, num_return_sequences=2, max_new_tokens=tokens)
        return [ParityCase(str(t), ((t, t + 5, t + 9),), 3, config) for t in range(3, 9)]

    report = check_parity(package, open_checkpoint(tmp_path / "twins"), grid=grid)
    assert report.exit_code == 0, report.to_json()["partings"]


@pytest.mark.parametrize("backend", ["loop", "contrib"])
def test_a_tie_is_called_a_near_tie(
    backend: str, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two tokens with the same embedding have the same probability, always.

    The file gets one of them nudged by less than the margin, so that it prefers
    the other one than HF does; both answers are right.
    """
    import torch

    from beamgen import export
    from beamgen.parity.reference import Reference

    checkpoint = open_checkpoint(checkpoints("gpt2"))
    prompts = tuple(tuple(np.random.default_rng(i).integers(3, 96, 6).tolist()) for i in range(8))
    config = SearchConfig((2,), 0, num_return_sequences=5, max_new_tokens=6)
    output = Reference(checkpoint.load_model()).generate(
        np.array(prompts), np.ones((8, 6), np.int64), config
    )
    token = int(np.bincount(output.sequences[:, :, 6:].ravel()).argmax())
    twin = 95 if token != 95 else 94
    model = checkpoint.load_model()
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        embedding[twin] = embedding[token]
    model.save_pretrained(tmp_path / "checkpoint")
    package = export(
        tmp_path / "checkpoint", tmp_path / "twin", parity=False, backend=backend
    ).package
    proto = onnx.load(package.model)
    weight = next(t for t in initializers(proto) if t.name.endswith("wte.weight"))
    array = numpy_helper.to_array(weight).copy()
    array[twin] += 2e-7 * np.abs(array[twin]) * np.sign(array[token].sum() or 1)
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    (tmp_path / "nudged").mkdir()
    onnx.save(proto, tmp_path / "nudged" / "model.onnx")
    write_manifest(tmp_path / "nudged", package.manifest)

    def grid(package, likely, seed):
        return [ParityCase(f"prompt {i}", (p,), 6, config) for i, p in enumerate(prompts)]

    report = check_parity(
        open_package(tmp_path / "nudged"), open_checkpoint(tmp_path / "checkpoint"), grid=grid
    )
    assert report.verdict is Verdict.NEAR_TIE, report.to_json()["partings"]
    assert report.exit_code == 0
    for result in report.results:
        for parting in result.partings:
            assert abs(parting.margin) < 1e-4
            assert {parting.ours[-1], parting.reference[-1]} & {token, twin}
