"""A package and its checkpoint whose answers part in nothing but near-ties."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from beamgen import export, open_checkpoint
from beamgen.package.folder import write_manifest
from beamgen.parity.reference import Reference
from beamgen.parity.report import ParityCase
from beamgen.settings.config import SearchConfig
from support.onnx_functions import initializers

CONFIG = SearchConfig((2,), 0, num_return_sequences=5, max_new_tokens=6)
PROMPTS = tuple(tuple(np.random.default_rng(i).integers(3, 96, 6).tolist()) for i in range(8))


def cases(*_: object) -> list[ParityCase]:
    """The grid in which they part."""
    return [ParityCase(f"prompt {i}", (p,), 6, CONFIG) for i, p in enumerate(PROMPTS)]


@dataclass(frozen=True)
class NearTie:
    """Where package and checkpoint are, and the two tokens that tie."""

    package: Path
    checkpoint: Path
    twins: frozenset[int]


def make_near_tie(original: Path, folder: Path, backend: str = "loop") -> NearTie:
    """Two tokens with the same embedding have the same probability, always.

    The file gets one of them nudged by less than the margin, so that it prefers
    the other one than HF does; both answers are right.

    Args:
        original: a checkpoint.
        folder: where to write all.
        backend: of the package.
    """
    import torch

    checkpoint = open_checkpoint(original)
    output = Reference(checkpoint.load_model()).generate(
        np.array(PROMPTS), np.ones((8, 6), np.int64), CONFIG
    )
    token = int(np.bincount(output.sequences[:, :, 6:].ravel()).argmax())
    twin = 95 if token != 95 else 94
    model = checkpoint.load_model()
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        embedding[twin] = embedding[token]
    model.save_pretrained(folder / "checkpoint")
    package = export(folder / "checkpoint", folder / "twin", parity=False, backend=backend).package
    proto = onnx.load(package.model)
    weight = next(t for t in initializers(proto) if t.name.endswith("wte.weight"))
    array = numpy_helper.to_array(weight).copy()
    array[twin] += 2e-7 * np.abs(array[twin]) * np.sign(array[token].sum() or 1)
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    (folder / "nudged").mkdir()
    onnx.save(proto, folder / "nudged" / "model.onnx")
    write_manifest(folder / "nudged", package.manifest)
    return NearTie(folder / "nudged", folder / "checkpoint", frozenset({token, twin}))
