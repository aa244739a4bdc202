"""What is to be trained, once everything that was named has been found and checked."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.checkpoint import Checkpoint, read_checkpoint
from beamgen.checkpoint.resolve import resolve
from beamgen.disk import local
from beamgen.errors import CheckpointError, SettingError
from beamgen.export.encoder import decoder_start
from beamgen.export.options import check_options
from beamgen.package.folders import Kind
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from beamgen.tokenizer.load import load_tokenizer
from beamgen.training.data import TrainingData, check_same_kind, read_rows
from beamgen.training.folders import PEFT_FOLDER, TRAINED_CHECKPOINT, check_output
from beamgen.training.requirements import check_installed, check_machine
from beamgen.training.settings import TrainingSettings
from beamgen.training.token_ids import EncoderSide, TrainingRow, stop_ids, tokenize_rows


class FinetuneOptions(TypedDict, total=False):
    """The keyword arguments of ``finetune``; ``FinetuneRequest`` is what becomes of them.

    Attributes:
        model_class: HF class name, adapter name or ``model_type``.
        method: ``lora``, which is the default, ``qlora``, ``loftq`` or ``qat``.
        precision: ``int8`` or ``int4``: of the file through whose rounding ``loftq`` and ``qat``
            train, as ``export`` takes it.
        all_weights: let ``qat`` train every weight in place of a LoRA.
        rank: of the LoRA matrices, peft's ``r``; by default 8.
        lora_alpha: the LoRA is scaled by ``lora_alpha / rank``; by default 16.
        lora_dropout: on the LoRA's input, while training; by default 0.
        target_modules: ``all-linear`` (peft's word for every linear layer but the
            output's), which is the default, or endings of module names.
        use_rslora: scale by ``lora_alpha / sqrt(rank)``.
        eval_data: JSONL file of the same kind, whose loss is measured before, after each
            epoch and in the end. Without it nothing is evaluated or held out.
        num_train_epochs: how often each row is seen; 3 where ``max_steps`` is not given.
        max_steps: optimizer steps, instead of epochs.
        learning_rate: at the start, by default 2e-4; it falls linearly to 0.
        batch_size: rows per optimizer step; by default 8.
        max_length: tokens a row may have, of an encoder-decoder its prompt and its completion
            each; None allows the model's positions. A longer row is refused, none is cut.
        seed: of the LoRA's start, the order of the rows and dropout; by default 0.
        save_steps: steps from one point to resume from to the next; by default 50.
        resume: go on where an interrupted training of this output last saved.
        force: replace an existing folder of this kind, and what an interrupted training left.
        revision: of a hub id.
        trust_remote_code: run Python code that comes with the checkpoint.
        ignore_unread: see ``beamgen.export.request.ExportOptions``.
    """

    model_class: str | None
    method: str
    precision: str | None
    all_weights: bool
    rank: int
    lora_alpha: int
    lora_dropout: float
    target_modules: str | Sequence[str]
    use_rslora: bool
    eval_data: str | os.PathLike[str] | None
    num_train_epochs: float | None
    max_steps: int | None
    learning_rate: float
    batch_size: int
    max_length: int | None
    seed: int
    save_steps: int
    resume: bool
    force: bool
    revision: str | None
    trust_remote_code: bool
    ignore_unread: Collection[str]


@dataclass(frozen=True)
class FinetuneRequest:
    """Everything that decides what a training makes; each part of it is known to be possible.

    Attributes:
        checkpoint: what is trained.
        adapter: the architecture's.
        settings: how.
        target: the PEFT folder, or the checkpoint where all weights are trained.
        data: the file of the rows to learn.
        eval_data: that of the rows on which the loss is measured, or None.
        train_rows: what is learned.
        eval_rows: what the loss is measured on, maybe nothing.
        resume: go on where an interrupted training of this target last saved.
        force: replace an existing folder of this kind, and what an interrupted training left.
        inputs: files and folders that are read, which the target must not replace.
    """

    checkpoint: Checkpoint
    adapter: DecoderAdapter
    settings: TrainingSettings
    target: Path
    data: TrainingData
    eval_data: TrainingData | None
    train_rows: Sequence[TrainingRow]
    eval_rows: Sequence[TrainingRow]
    resume: bool
    force: bool
    inputs: Sequence[Path]

    @property
    def kind(self) -> Kind:
        """What kind of folder is written."""
        return _kind(self.settings)

    @property
    def base(self) -> str:
        """What ``adapter_config.json`` names as the base model."""
        if self.settings.method == "loftq":
            return str(self.target.absolute() / "base")
        origin = self.checkpoint.origin
        return self.checkpoint.source if origin["kind"] == "demo" else origin["model"]

    @property
    def record(self) -> dict[str, Any]:
        """What makes one training differ from another, as it is written beside it."""
        checkpoint = {**self.checkpoint.origin, "revision": self.checkpoint.revision}
        values = {
            "checkpoint": checkpoint,
            **asdict(self.settings),
            "data": _file_record(self.data),
            "eval_data": None if self.eval_data is None else _file_record(self.eval_data),
        }
        as_read: dict[str, Any] = json.loads(json.dumps(values))  # tuples become lists
        return as_read


def finetune_request(
    model: str | os.PathLike[str] | None,
    data: str | os.PathLike[str] | None,
    output: str | os.PathLike[str] | None,
    options: FinetuneOptions,
) -> FinetuneRequest:
    """Find what ``finetune`` was asked for, and refuse what cannot be done before any work is.

    What shows without transformers, whose import takes seconds, is checked first.

    Raises:
        TypeError: ``finetune`` has no such option.
        AdapterError, CheckpointError, SettingError, PackageError, MissingExtraError,
        TrainingDataError: see ``finetune``.
    """
    check_options("finetune", options, FinetuneOptions)
    settings = TrainingSettings.from_options(options)
    force = options.get("force", False)
    check_installed(settings.method)
    train_file, eval_file = _read_files(data, options.get("eval_data"))
    check_machine(settings.method)  # a hub id would be downloaded for nothing
    files = resolve(
        model,
        options.get("model_class"),
        revision=options.get("revision"),
        trust_remote_code=options.get("trust_remote_code", False),
    )
    named = f"{files.name}-{'qat' if settings.all_weights else 'lora'}"
    target = local(output if output is not None else named)
    read = [train_file.path, *([eval_file.path] if eval_file else []), files.folder]
    check_output(target, _kind(settings), force=force, inputs=read)
    if not files.has_tokenizer:
        raise CheckpointError(
            f"{files.source} has no tokenizer, and training rows are text",
            "save its tokenizer beside the weights: tokenizer.save_pretrained(FOLDER)",
        )
    checkpoint = read_checkpoint(files, options.get("ignore_unread", ()))
    adapter = checkpoint.adapter(options.get("model_class"))
    limit = _longest_row(checkpoint, adapter, settings.max_length)
    encoder = _encoder_side(checkpoint, adapter, settings.max_length)
    tokenizer = load_tokenizer(checkpoint.folder, trust_remote_code=checkpoint.trust_remote_code)
    assert tokenizer is not None, "it has tokenizer files"
    stops = stop_ids(checkpoint, tokenizer)
    _check_plain(checkpoint, settings)
    if settings.method == "qlora":
        from beamgen.training.nf4 import check_widths

        check_widths(checkpoint)
    return FinetuneRequest(
        checkpoint=checkpoint,
        adapter=adapter,
        settings=settings,
        target=target,
        data=train_file,
        eval_data=eval_file,
        train_rows=tokenize_rows(train_file, tokenizer, stops, limit, encoder),
        eval_rows=tokenize_rows(eval_file, tokenizer, stops, limit, encoder) if eval_file else (),
        resume=options.get("resume", False),
        force=force,
        inputs=tuple(read),
    )


def _kind(settings: TrainingSettings) -> Kind:
    return TRAINED_CHECKPOINT if settings.all_weights else PEFT_FOLDER


def _check_plain(checkpoint: Checkpoint, settings: TrainingSettings) -> None:
    """Refuse quantized weights where they are quantized once more, or written as others.

    Raises:
        CheckpointError: they are quantized.
    """
    takes_any = settings.method == "lora" or (settings.method == "qat" and not settings.all_weights)
    if checkpoint.quantization is not None and not takes_any:
        raise CheckpointError(
            f"the weights of {checkpoint.source} are quantized already ({checkpoint.quantization})",
            "train with --method lora, on what they are worth in float32",
        )


def _read_files(
    data: str | os.PathLike[str] | None, eval_data: str | os.PathLike[str] | None
) -> tuple[TrainingData, TrainingData | None]:
    """The rows to train on and, where there are any, those to evaluate on."""
    if data is None:
        raise SettingError("no training data was named", "pass --data FILE.jsonl")
    train_file = read_rows(data)
    if eval_data is None:
        return train_file, None
    eval_file = read_rows(eval_data)
    check_same_kind(train_file, eval_file)
    return train_file, eval_file


def _longest_row(checkpoint: Checkpoint, adapter: DecoderAdapter, max_length: int | None) -> int:
    """How many tokens a row may have."""
    positions = adapter.position_limits(checkpoint.config).max_positions
    if max_length is not None and max_length > positions:
        raise SettingError(
            f"max_length {max_length} is more than the model's {positions} positions hold",
            f"set --max-length {positions} or less",
        )
    return max_length or positions


def _encoder_side(
    checkpoint: Checkpoint, adapter: DecoderAdapter, max_length: int | None
) -> EncoderSide | None:
    """What reads the prompts of an encoder-decoder.

    Raises:
        CheckpointError: it does not read text, or names no token to begin with.
        SettingError: ``max_length`` is beyond its positions.
    """
    if not isinstance(adapter, Seq2SeqAdapter):
        return None
    if not any(source.name == "input_ids" for source in adapter.sources(checkpoint.config)):
        raise CheckpointError(
            f"the encoder of {checkpoint.source} reads no text, and training rows are text",
            "train it with transformers' Seq2SeqTrainer and peft, and export with --lora",
        )
    positions = adapter.source_positions(checkpoint.config)
    if positions is not None and (max_length or 0) > positions:
        raise SettingError(
            f"max_length {max_length} is more than the encoder's {positions} positions hold",
            f"set --max-length {positions} or less",
        )
    return EncoderSide(decoder_start(checkpoint, {}), max_length or positions)


def _file_record(file: TrainingData) -> dict[str, Any]:
    return {"file": file.path.name, "sha256": file.sha256, "rows": len(file.rows)}
