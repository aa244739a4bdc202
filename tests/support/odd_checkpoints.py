"""Checkpoints with something odd in them, and what NumPy makes of their files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file, save_file

from beamgen import Generator, Package

PROMPT = (5, 9, 7, 11, 30)


def edit_json(path: Path, changes: Mapping[str, Any], drop: Sequence[str] = ()) -> None:
    """Change keys of a JSON file, and delete some."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if k not in drop}))


def edit_config(folder: Path, drop: Sequence[str] = (), **changes: Any) -> Path:
    """Change keys of a checkpoint's config.json, and delete some."""
    edit_json(folder / "config.json", changes, drop)
    return folder


def edit_tensors(
    folder: Path, changes: Mapping[str, torch.Tensor], drop: Sequence[str] = ()
) -> Path:
    """Change tensors of a checkpoint's model.safetensors, and delete some."""
    tensors = {**load_file(folder / "model.safetensors"), **changes}
    kept = {name: value.contiguous() for name, value in tensors.items() if name not in drop}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def numpy_greedy(
    model: ModuleType, folder: Path, new: int, prompt: Sequence[int] = PROMPT
) -> list[int]:
    """The tokens of greatest probability, until EOS 2, straight from a checkpoint's files.

    Args:
        model: ``support.numpy_gpt2`` or ``support.numpy_phi3``.
        folder: the checkpoint's.
        new: tokens at most.
        prompt: ids.
    """
    tensors = load_numpy(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    ids = list(prompt)
    while len(ids) < len(prompt) + new and (len(ids) == len(prompt) or ids[-1] != 2):
        ids.append(int(model.logits(tensors, config, ids)[-1].argmax()))
    return ids[len(prompt) :]


def file_greedy(package: Package, new: int, prompt: Sequence[int] = PROMPT) -> list[int]:
    """The tokens of a package's greedy search."""
    (found,) = Generator(package).generate([prompt], num_beams=1, max_new_tokens=new)
    return found[0].token_ids
