"""What a package was made from: its checkpoint, and the PEFT folders of its LoRAs."""

from __future__ import annotations

import os
from pathlib import Path

from beamgen.checkpoint.checkpoint import Checkpoint, read_checkpoint
from beamgen.checkpoint.files import find_checkpoint, find_demo
from beamgen.checkpoint.lora_source import find_peft, origin
from beamgen.default_adapter import DEFAULT
from beamgen.errors import CheckpointError, LoraError
from beamgen.package.folder import Package
from beamgen.registry import find_adapter

_NAME_CHECKPOINT = "name it with --checkpoint"
_NAME_PEFT = "name its PEFT folder with --peft"


def open_source(
    package: Package, checkpoint: str | None = None, *, trust_remote_code: bool = False
) -> Checkpoint:
    """The checkpoint a package was exported from, or another one named instead.

    It comes with the LoRA that was merged into the package, if one was.

    Raises:
        CheckpointError: it is not where it was.
        LoraError: the LoRA is not.
    """
    merged = package.manifest.source.get("lora")
    found = _open_base(package, checkpoint, trust_remote_code).with_lora(merged)
    if checkpoint is not None:
        _check_comparable(package, found)
    return found


def _open_base(package: Package, checkpoint: str | None, trust_remote_code: bool) -> Checkpoint:
    adapter = find_adapter(package.manifest.adapter)
    if checkpoint is not None:
        files = find_checkpoint(checkpoint, trust_remote_code=trust_remote_code)
        return read_checkpoint(files.of(adapter), package.manifest.source.get("ignored", ()))
    source = package.manifest.source
    if source["kind"] == "folder" and not Path(source["model"]).is_dir():
        raise CheckpointError(f"the checkpoint is no longer at {source['model']}", _NAME_CHECKPOINT)
    try:
        if source["kind"] == "demo":
            files = find_demo(find_adapter(source["model"]))
        else:
            files = find_checkpoint(
                source["model"], revision=source["revision"], trust_remote_code=trust_remote_code
            )
    except CheckpointError as error:
        raise CheckpointError(error.cause, _NAME_CHECKPOINT) from error
    return read_checkpoint(files.of(adapter), source.get("ignored", ()))


def _check_comparable(package: Package, checkpoint: Checkpoint) -> None:
    manifest = package.manifest
    asked = manifest.adapter if manifest.adapter == DEFAULT else None
    adapter = checkpoint.adapter(asked).name
    vocab_size = checkpoint.vocab_size
    if (adapter, vocab_size) != (manifest.adapter, manifest.vocab_size):
        raise CheckpointError(
            f"{checkpoint.source} is a {adapter} of {vocab_size} tokens, but the package was "
            f"made of a {manifest.adapter} of {manifest.vocab_size}",
            "name the checkpoint that the package was exported from",
        )


def lora_source(package: Package, name: str, given: str | os.PathLike[str] | None = None) -> str:
    """Path or hub id of the LoRA that a package's was converted from, or of another named instead.

    Raises:
        LoraError: there is no such LoRA, or it was not made from a PEFT folder that is
            still there.
    """
    package.lora_path(name)
    if given is not None:
        return origin(find_peft(given))
    source = package.manifest.loras.get(name, {}).get("source")
    if source is None:
        raise LoraError(f"the package does not say what '{name}' was made from", _NAME_PEFT)
    try:
        find_peft(source)
    except LoraError as error:
        raise LoraError(f"'{name}' was made from {source}: {error.cause}", _NAME_PEFT) from error
    return str(source)
