"""From what a user names to a checkpoint: its adapter, and back from a package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint import Checkpoint, demo_checkpoint, open_checkpoint
from beamgen.errors import AdapterError, CheckpointError, LoraError
from beamgen.lora.peft_folder import read_config
from beamgen.lora.source import find_peft, origin
from beamgen.package import Package
from beamgen.registry import find_adapter

_NAME_IT = "name its PEFT folder with --peft"


def resolve(
    model: str | os.PathLike[str] | None,
    model_class: str | None,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    lora: Sequence[str | os.PathLike[str]] = (),
) -> tuple[Checkpoint, DecoderAdapter]:
    """The checkpoint and its adapter, from what a user named: or else the base of a LoRA.

    Raises:
        AdapterError, CheckpointError, LoraError: see ``find_adapter``,
            ``open_checkpoint``, ``base_of``.
    """
    if model is not None:
        checkpoint = open_checkpoint(model, revision=revision, trust_remote_code=trust_remote_code)
        return checkpoint, checkpoint.adapter(model_class)
    if revision is not None:
        raise CheckpointError(
            f"--revision {revision} was given without a hub id", "name it: --model"
        )
    if model_class is None and lora:
        checkpoint = base_of(lora[0])
        return checkpoint, checkpoint.adapter()
    if model_class is None:
        raise AdapterError(
            "neither a checkpoint nor a model class was named",
            "pass --model FOLDER_OR_HUB_ID, or --model-class NAME for its demo checkpoint",
        )
    adapter = find_adapter(model_class)
    return demo_checkpoint(adapter), adapter


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
    base = _open_base(package, checkpoint, trust_remote_code)
    return base.with_lora(merged)


def _open_base(package: Package, checkpoint: str | None, trust_remote_code: bool) -> Checkpoint:
    if checkpoint is not None:
        other = open_checkpoint(checkpoint, trust_remote_code=trust_remote_code)
        _check_comparable(package, other)
        return other
    source = package.manifest.source
    if source["kind"] == "demo":
        return demo_checkpoint(find_adapter(source["model"]))
    if source["kind"] == "folder" and not Path(source["model"]).is_dir():
        raise CheckpointError(
            f"the checkpoint is no longer at {source['model']}", "name it with --checkpoint"
        )
    try:
        return open_checkpoint(
            source["model"], revision=source["revision"], trust_remote_code=trust_remote_code
        )
    except CheckpointError as error:
        raise CheckpointError(error.cause, "name it with --checkpoint") from error


def _check_comparable(package: Package, checkpoint: Checkpoint) -> None:
    manifest = package.manifest
    adapter = checkpoint.adapter().name
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
        raise LoraError(f"the package does not say what '{name}' was made from", _NAME_IT)
    try:
        find_peft(source)
    except LoraError as error:
        raise LoraError(f"'{name}' was made from {source}: {error.cause}", _NAME_IT) from error
    return str(source)


def base_of(lora: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint that a PEFT folder says it was trained on.

    Raises:
        LoraError: it names none.
        CheckpointError: the one named cannot be found.
    """
    folder = find_peft(lora)
    base = read_config(folder).get("base_model_name_or_path")
    if not base:
        raise LoraError(f"{folder} does not say what it was trained on", "name it: --model")
    if base.startswith("demo:"):
        return demo_checkpoint(find_adapter(base.removeprefix("demo:")))
    try:
        return open_checkpoint(base)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder} was trained on {base}: {error.cause}", "name it: --model"
        ) from error
