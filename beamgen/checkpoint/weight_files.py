"""The tensors that a checkpoint's files hold, as they are stored, one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stored_tensors(folder: Path, named: str | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the files that transformers loads, with its name there.

    Files are mapped into memory, so that only what is looked at is read.

    Args:
        folder: the checkpoint's.
        named: the file that ``transformers_weights`` of its config names, if any.
    """
    for path in weight_files(folder, named):
        yield from (_of_safetensors(path) if path.suffix == ".safetensors" else _of_pickle(path))


def has_weights(folder: Path, named: str | None = None) -> bool:
    """Whether there is any file that transformers would load."""
    return _first(folder, named) is not None


def weight_files(folder: Path, named: str | None = None) -> list[Path]:
    """The files that transformers loads, of all that lie there.

    Raises:
        FileNotFoundError: there are none.

    Source: ``transformers.modeling_utils._get_resolved_checkpoint_files``: safetensors go before
    pickles, one file before shards.
    """
    found = _first(folder, named)
    if found is None:
        raise FileNotFoundError(f"{folder} holds no weights")
    if found.suffix != ".json":
        return [found]
    shards = json.loads(found.read_text(encoding="utf-8"))["weight_map"].values()
    return [folder / name for name in sorted(set(shards))]


def _first(folder: Path, named: str | None) -> Path | None:
    """The file that goes before all others, or the index of its shards."""
    from transformers.utils import (
        SAFE_WEIGHTS_INDEX_NAME,
        SAFE_WEIGHTS_NAME,
        WEIGHTS_INDEX_NAME,
        WEIGHTS_NAME,
    )

    kinds = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)
    paths = (folder / name for name in (named, *kinds) if name)
    return next((path for path in paths if path.is_file()), None)


def _of_safetensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            yield name, file.get_tensor(name)


def _of_pickle(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    try:
        tensors = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except RuntimeError:  # files older than torch 1.6 cannot be mapped
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    for name, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor):
            yield name, tensor
