"""The whole training, readable: a checkpoint and a JSONL file become a PEFT folder.

Or, where all weights are trained, another checkpoint.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Unpack

from beamgen.export.prove import Progress
from beamgen.package.folders import new_folder, note_files
from beamgen.training.folders import RECORD, work_folder, write_json
from beamgen.training.request import FinetuneOptions, FinetuneRequest, finetune_request
from beamgen.training.requirements import is_installed
from beamgen.training.result import FinetuneResult

_VERSIONED = ("beamgen", "torch", "transformers", "accelerate", "peft", "bitsandbytes")


def finetune(
    model: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[FinetuneOptions],
) -> FinetuneResult:
    """Train a LoRA, or all weights, on prompts and completions or on chats, with HF's Trainer.

    The loss counts a completion's tokens and the EOS behind them, of a chat those of
    its last message. The optimizer is HF's default (AdamW, linear decay), in float32.
    On one machine's CPU the same seed gives the same LoRA, byte for byte, be it
    interrupted and resumed or not.

    ``qlora`` trains against the base in nf4, by bitsandbytes: the LoRA fits the
    unquantized base, on which it is used, only as well as nf4 does.

    ``qat`` and ``loftq`` compute the loss that a file of ``precision`` has, and let the
    gradients pass its rounding (straight-through). ``qat`` rounds the base with the LoRA in
    it, for an export that merges; or it trains all weights. ``loftq`` rounds the base alone,
    for slots, and lets the LoRA begin as what rounding loses: it replaces the base's weights
    by others, so that ``output/base`` holds the checkpoint to which the LoRA belongs.

    Args:
        model: checkpoint folder or hub id; None takes the demo checkpoint of
            ``model_class``.
        data: JSONL file whose rows are ``{"prompt", "completion"}``, or
            ``{"messages": [{"role", "content"}, ...]}`` ending with the assistant's.
        output: the PEFT folder to write, or with ``all_weights`` the checkpoint; None names
            it after the checkpoint, ``biogpt-lora`` or ``biogpt-qat``.
        progress: called with one line as each stage or step begins.
        options: see ``FinetuneOptions``.

    Returns:
        The folder and its losses; ``finetune.json`` in it records them, the
        settings, the versions and the data's SHA-256.

    Raises:
        BeamgenError: with nothing written; an ``AdapterError``, ``CheckpointError``,
            ``SettingError``, ``PackageError``, ``MissingExtraError`` or ``TrainingDataError``.
    """
    request = finetune_request(model, data, output, options)
    record = request.record
    target, force = request.target, request.force
    with (
        work_folder(target, record, resume=request.resume, force=force) as work,
        new_folder(target, request.kind, force=force, inputs=request.inputs) as folder,
    ):
        result = _train(request, work, folder, progress or (lambda line: None))
    return replace(result, folder=target)


def _train(
    request: FinetuneRequest, work: Path, folder: Path, progress: Progress
) -> FinetuneResult:
    """Train in the work folder, and write what came of it."""
    from beamgen.training.isolation import quiet

    with quiet():  # on some CPUs bitsandbytes, which peft imports, warns of a kernel it misses
        from beamgen.training.trainer import train

    result = train(request, work, folder, progress)
    figures = {name: value for name, value in asdict(result).items() if name != "folder"}
    versions = {name: metadata.version(name) for name in _VERSIONED if is_installed(name)}
    write_json(folder / RECORD, {**request.record, **figures, "versions": versions})
    note_files(folder, request.kind)
    return result
