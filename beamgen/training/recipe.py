"""The whole training, readable: a checkpoint and a JSONL file become a PEFT folder."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.checkpoint.resolve import resolve
from beamgen.checkpoint.tokenizer import load_tokenizer
from beamgen.errors import BeamgenError, CheckpointError, MissingExtraError, SettingError
from beamgen.export.prove import Progress
from beamgen.lora.targets import ALL_LINEAR
from beamgen.package.folders import move_into_place
from beamgen.training.data import (
    TrainingData,
    TrainingRow,
    check_same_kind,
    read_rows,
    stop_ids,
    tokenize_rows,
)
from beamgen.training.folders import (
    RECORD,
    check_output,
    last_checkpoint,
    work_folder,
    write_json,
)
from beamgen.training.job import FinetuneResult, TrainingJob
from beamgen.training.settings import TrainingSettings

_EPOCHS = 3.0  # HF's own default
_VERSIONED = ("beamgen", "torch", "transformers", "accelerate", "peft", "bitsandbytes")


def finetune(
    model: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    model_class: str | None = None,
    method: str = "lora",
    rank: int = 8,
    lora_alpha: int = 16,
    lora_dropout: float = 0.0,
    target_modules: str | Sequence[str] = ALL_LINEAR,
    use_rslora: bool = False,
    eval_data: str | os.PathLike[str] | None = None,
    num_train_epochs: float | None = None,
    max_steps: int | None = None,
    learning_rate: float = 2e-4,
    batch_size: int = 8,
    max_length: int | None = None,
    seed: int = 0,
    save_steps: int = 50,
    resume: bool = False,
    force: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> FinetuneResult:
    """Train a LoRA on prompts and completions, or on chats, with transformers' Trainer.

    The loss counts a completion's tokens and the EOS behind them, of a chat those of
    its last message. The optimizer is HF's default (AdamW, linear decay), in float32.
    On one machine's CPU the same seed gives the same LoRA, byte for byte, be it
    interrupted and resumed or not.

    ``qlora`` trains against the base in nf4, by bitsandbytes: the LoRA fits the
    unquantized base, on which it is used, only as well as nf4 does. ``loftq`` replaces
    the base's weights by others, so that ``output/base`` holds the checkpoint to which
    the LoRA belongs; peft computes its start on a GPU only.

    Args:
        model: checkpoint folder or hub id; None takes the demo checkpoint of
            ``model_class``.
        data: JSONL file whose rows are ``{"prompt", "completion"}``, or
            ``{"messages": [{"role", "content"}, ...]}`` ending with the assistant's.
        output: the PEFT folder to write; None names it after the checkpoint, e.g.
            ``biogpt-lora``.
        model_class: HF class name, adapter name or ``model_type``.
        method: ``lora``, ``qlora`` or ``loftq``.
        rank: of the LoRA matrices, peft's ``r``.
        lora_alpha: the LoRA is scaled by ``lora_alpha / rank``.
        lora_dropout: on the LoRA's input, while training.
        target_modules: ``all-linear`` (peft's word for every linear layer but the
            output's), or endings of module names.
        use_rslora: scale by ``lora_alpha / sqrt(rank)``.
        eval_data: JSONL file of the same kind, whose loss is measured before, after each
            epoch and in the end. Without it nothing is evaluated or held out.
        num_train_epochs: how often each row is seen; 3 where ``max_steps`` is not given.
        max_steps: optimizer steps, instead of epochs.
        learning_rate: at the start; it falls linearly to 0.
        batch_size: rows per optimizer step.
        max_length: tokens a row may have; None allows the model's positions. A longer
            row is refused, none is cut.
        seed: of the LoRA's start, the order of the rows and dropout.
        save_steps: steps from one point to resume from to the next.
        resume: go on where an interrupted training of this output last saved.
        force: replace an existing PEFT folder, and what an interrupted training left.
        revision: of a hub id.
        trust_remote_code: run Python code that comes with the checkpoint.
        progress: called with one line as each stage or step begins.

    Returns:
        The PEFT folder and its losses; ``finetune.json`` in it records them, the
        settings, the versions and the data's SHA-256.

    Raises:
        BeamgenError: with nothing written; an ``AdapterError``, ``CheckpointError``,
            ``SettingError``, ``PackageError``, ``MissingExtraError`` or ``TrainingDataError``.
    """
    say = progress or (lambda line: None)
    settings = TrainingSettings(
        method=method,
        rank=rank,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        target_modules=_module_names(target_modules),
        use_rslora=use_rslora,
        num_train_epochs=_EPOCHS if num_train_epochs is max_steps is None else num_train_epochs,
        max_steps=max_steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_length=max_length,
        seed=seed,
        save_steps=save_steps,
    )
    _check_can_run(method)
    checkpoint, adapter = resolve(
        model, model_class, revision=revision, trust_remote_code=trust_remote_code
    )
    target = Path(output if output is not None else f"{checkpoint.name}-lora")
    check_output(target, force=force)
    files = _read_files(data, eval_data)
    train_rows, *eval_rows = _tokenized(files, checkpoint, adapter, max_length)
    asked = _asked(checkpoint, settings, files)
    with work_folder(target, asked, resume=resume, force=force) as work:
        job = TrainingJob(
            checkpoint=checkpoint,
            settings=settings,
            train_rows=train_rows,
            eval_rows=eval_rows[0] if eval_rows else (),
            work=work,
            resume_from=last_checkpoint(work) if resume else None,
            base=_base(checkpoint, method, target),
            progress=say,
        )
        return _run(job, target, asked, force=force)


def _run(
    job: TrainingJob, target: Path, asked: Mapping[str, Any], *, force: bool
) -> FinetuneResult:
    """Train, and move what came of it into place."""
    from beamgen.training.trainer import train

    new = job.work / "finished"
    shutil.rmtree(new, ignore_errors=True)
    result = train(job, new)
    figures = {key: value for key, value in asdict(result).items() if key != "folder"}
    versions = {name: metadata.version(name) for name in _VERSIONED if _is_installed(name)}
    write_json(new / RECORD, {**asked, **figures, "versions": versions})
    check_output(target, force=force)  # another training may have been faster
    move_into_place(new, target)
    return FinetuneResult(**{**asdict(result), "folder": target})


def _module_names(asked: str | Sequence[str]) -> str | tuple[str, ...]:
    """A single name is one of a list: peft would take it for a pattern."""
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    if ALL_LINEAR not in names:
        return names
    if len(names) > 1:
        raise SettingError(
            f"target_modules names {ALL_LINEAR} and others", "name the one or the others"
        )
    return ALL_LINEAR


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _check_can_run(method: str) -> None:
    """Refuse what cannot run on this machine before anything is loaded.

    Raises:
        MissingExtraError: a package is not installed.
        BeamgenError: bitsandbytes or peft cannot do it on this machine.
    """
    needed = {"qlora": ("bitsandbytes",), "loftq": ("bitsandbytes", "scipy")}.get(method, ())
    for name in ("torch", "accelerate", "peft", *needed):
        if not _is_installed(name):
            raise MissingExtraError(f"beamgen finetune --method {method}", "finetune", name)
    if needed:
        from beamgen.training.trainer import why_not

        reason = why_not(method)
        if reason:
            raise BeamgenError(
                f"--method {method} cannot run on this machine: {reason}",
                "train with --method lora, or on a machine with a GPU",
            )


def _read_files(
    data: str | os.PathLike[str] | None, eval_data: str | os.PathLike[str] | None
) -> list[TrainingData]:
    """The rows to train on and, where there are any, those to evaluate on."""
    if data is None:
        raise SettingError("no training data was named", "pass --data FILE.jsonl")
    files = [read_rows(path) for path in (data, eval_data) if path is not None]
    check_same_kind(files[0], files[-1])
    return files


def _tokenized(
    files: Sequence[TrainingData],
    checkpoint: Checkpoint,
    adapter: DecoderAdapter,
    max_length: int | None,
) -> list[list[TrainingRow]]:
    tokenizer = load_tokenizer(checkpoint.folder, trust_remote_code=checkpoint.trust_remote_code)
    if tokenizer is None:
        raise CheckpointError(
            f"{checkpoint.source} has no tokenizer, and training rows are text",
            "save its tokenizer beside the weights: tokenizer.save_pretrained(FOLDER)",
        )
    positions = adapter.position_limits(checkpoint.config).max_positions
    if max_length is not None and max_length > positions:
        raise SettingError(
            f"max_length {max_length} is more than the model's {positions} positions hold",
            f"set --max-length {positions} or less",
        )
    stops = stop_ids(checkpoint, tokenizer)
    return [tokenize_rows(file, tokenizer, stops, max_length or positions) for file in files]


def _base(checkpoint: Checkpoint, method: str, target: Path) -> str:
    """What ``adapter_config.json`` names as the base model."""
    if method == "loftq":
        return str(target.absolute() / "base")
    return checkpoint.source if checkpoint.origin["kind"] == "demo" else checkpoint.origin["model"]


def _asked(
    checkpoint: Checkpoint, settings: TrainingSettings, files: Sequence[TrainingData]
) -> dict[str, Any]:
    """What makes one training differ from another, as written beside it."""
    names = ("data", "eval_data")
    values = {
        "checkpoint": {**checkpoint.origin, "revision": checkpoint.revision},
        **asdict(settings),
        **dict.fromkeys(names),
        **{
            name: {"file": file.path.name, "sha256": file.sha256, "rows": len(file.rows)}
            for name, file in zip(names, files, strict=False)
        },
    }
    as_read: dict[str, Any] = json.loads(json.dumps(values))  # tuples become lists
    return as_read
