"""Which checkpoint a user means, who may name a model, its class, or a LoRA trained on it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from beamgen.checkpoint.files import (
    CheckpointFiles,
    check_architecture,
    find_checkpoint,
    find_demo,
)
from beamgen.checkpoint.lora_source import find_peft
from beamgen.default_adapter import DEFAULT
from beamgen.errors import AdapterError, CheckpointError, LoraError
from beamgen.lora.peft_folder import read_config
from beamgen.registry import find_adapter


def resolve(
    model: str | os.PathLike[str] | None,
    model_class: str | None,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    lora: Sequence[str | os.PathLike[str]] = (),
) -> CheckpointFiles:
    """Find the checkpoint that a user named, or the base of a LoRA, without reading it.

    Args:
        model: a folder or hub id.
        model_class: HF class name, adapter name or ``model_type``; without ``model`` its demo.
            ``default`` takes any architecture.
        revision: of a hub id.
        trust_remote_code: run Python code that comes with the checkpoint.
        lora: PEFT folders or hub ids, the first of which may name the checkpoint.

    Raises:
        AdapterError, CheckpointError, LoraError: there is no such checkpoint, or it is of
            another architecture.
    """
    if model is not None:
        files = find_checkpoint(model, revision=revision, trust_remote_code=trust_remote_code)
        files = files if model_class is None else files.of(find_adapter(model_class))
        check_architecture(files, model_class)
        return files
    if revision is not None:
        raise CheckpointError(
            f"--revision {revision} was given without a hub id", "name it: --model"
        )
    if model_class is not None and not (lora and model_class == DEFAULT):
        return find_demo(find_adapter(model_class))
    if lora:
        files = _find_base(lora[0], trust_remote_code)
        check_architecture(files, model_class)
        return files
    raise AdapterError(
        "neither a checkpoint nor a model class was named",
        "pass --model FOLDER_OR_HUB_ID, or --model-class NAME for its demo checkpoint",
    )


def _find_base(lora: str | os.PathLike[str], trust_remote_code: bool) -> CheckpointFiles:
    """Find the checkpoint that a PEFT folder says it was trained on.

    Raises:
        LoraError: it names none.
        CheckpointError: the one named cannot be found.
    """
    folder = find_peft(lora)
    name_it = f"name it: --model BASE --lora {shlex.quote(os.fspath(lora))}"
    base = read_config(folder).get("base_model_name_or_path")
    if not base:
        raise LoraError(f"{folder} does not say what it was trained on", name_it)
    if base.startswith("demo:"):
        return find_demo(find_adapter(base.removeprefix("demo:")))
    try:
        return find_checkpoint(base, trust_remote_code=trust_remote_code)
    except CheckpointError as error:
        raise CheckpointError(f"{folder} was trained on {base}: {error.cause}", name_it) from error
