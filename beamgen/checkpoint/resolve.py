"""From what a user names to a checkpoint and its adapter."""

from __future__ import annotations

import os
from collections.abc import Sequence

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.checkpoint import Checkpoint, demo_checkpoint, open_checkpoint
from beamgen.checkpoint.lora_source import find_peft
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
