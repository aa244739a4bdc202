"""The LoRA and its training: peft's model in transformers' Trainer.

The Trainer is handed ids and labels, and takes the loss of the model's own forward:
what is learned of which token does not depend on a library's idea of an architecture.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoftQConfig, LoraConfig, PeftModel, get_peft_model
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as hf_logging

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import CheckpointError, SettingError, one_line
from beamgen.export.prove import Progress
from beamgen.training.data import IGNORE_INDEX, TrainingRow
from beamgen.training.job import FinetuneResult, TrainingJob
from beamgen.training.settings import TrainingSettings

_BITS = 4


def why_not(method: str) -> str:
    """Why ``qlora`` or ``loftq`` cannot run on this machine, or ''."""
    on_gpu = torch.cuda.is_available()
    if method == "loftq" and not on_gpu:  # Source: peft/utils/loftq_utils.py, loftq_init
        return "peft computes LoftQ's start on a GPU only, and torch sees none"
    try:
        with _quiet():
            from bitsandbytes.functional import dequantize_4bit, quantize_4bit

            numbers = torch.ones(64, device="cuda" if on_gpu else "cpu")
            dequantize_4bit(*quantize_4bit(numbers, quant_type="nf4"))
    except Exception as error:  # a library that does not load fails in its own way
        return f"bitsandbytes cannot quantize here: {one_line(error, 120)}"
    return ""


def train(job: TrainingJob, folder: Path) -> FinetuneResult:
    """Train a LoRA and write it, with its base where that is a new one, into ``folder``.

    Raises:
        CheckpointError: the base's weights do not load.
        SettingError: ``target_modules`` fit no layer of it, or the training diverged.
    """
    with _quiet(), _own_random_state():
        job.progress(f"loading {job.checkpoint.source}")
        model = _with_lora(job)
        trainer = _trainer(job, model)
        before = trainer.evaluate()["eval_loss"] if job.eval_rows else None
        trainer.train(resume_from_checkpoint=str(job.resume_from) if job.resume_from else None)
        after = _last_eval_loss(trainer) if job.eval_rows else None
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        result = FinetuneResult(
            folder=folder,
            base=job.base,
            method=job.settings.method,
            steps=trainer.state.global_step,
            train_loss=sum(losses) / len(losses),
            eval_loss_before=before,
            eval_loss=after,
            trainable_parameters=model.num_parameters(only_trainable=True),
        )
        _check_finite(model)
        job.progress(f"writing {folder}")
        _save(job, model.cpu(), folder)
    return result


def _check_finite(model: PeftModel) -> None:
    """Refuse to write what no longer holds numbers."""
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    if not all(bool(parameter.isfinite().all()) for parameter in trained):
        raise SettingError(
            "the training diverged: the LoRA holds infinities or not-a-numbers",
            "lower --learning-rate, and pass --force to begin anew",
        )


def _with_lora(job: TrainingJob) -> PeftModel:
    """The base, frozen, with a fresh LoRA on it."""
    settings, checkpoint = job.settings, job.checkpoint
    config = _lora_config(settings)
    nf4 = settings.method == "qlora"
    base = _load_nf4(checkpoint) if nf4 else checkpoint.load_model()
    if settings.method == "loftq" and any(isinstance(m, Conv1D) for m in base.modules()):
        raise SettingError(  # Source: peft 0.21, lora/layer.py, loftq_init: no transposition
            f"peft has no LoftQ for the Conv1D layers of {checkpoint.source}",
            "train with --method lora or qlora",
        )
    set_seed(settings.seed)
    try:
        return get_peft_model(base, config)
    except ValueError as error:  # no layer is called so, or it is of a kind without LoRA
        raise SettingError(
            f"no LoRA can be put on {checkpoint.source}: {one_line(error, 160)}",
            f"set target_modules to some of {', '.join(_layer_names(base))}",
        ) from error


def _lora_config(settings: TrainingSettings) -> LoraConfig:
    targets, loftq = settings.target_modules, settings.method == "loftq"
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=settings.use_rslora,
        init_lora_weights="loftq" if loftq else True,
        loftq_config=LoftQConfig(loftq_bits=_BITS) if loftq else {},
    )


def _layer_names(model: PreTrainedModel) -> list[str]:
    """Endings of the names of the layers with a matrix, e.g. ``q_proj``."""
    endings = {
        name.rpartition(".")[2]: None
        for name, module in model.named_modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 2
        and not isinstance(module, torch.nn.Embedding)
    }
    return list(endings)


def _load_nf4(checkpoint: Checkpoint) -> PreTrainedModel:
    """The model with its linear layers in nf4, which compute in float32."""
    quantized = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    try:
        return AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            dtype=torch.float32,
            quantization_config=quantized,
            trust_remote_code=checkpoint.trust_remote_code,
            local_files_only=True,
        )
    except Exception as error:  # each weight format fails in its own way
        raise CheckpointError(
            f"cannot load {checkpoint.source} in nf4: {one_line(error)}",
            "train with --method lora",
        ) from error


def _trainer(job: TrainingJob, model: PeftModel) -> Trainer:
    settings, has_eval = job.settings, bool(job.eval_rows)
    arguments = TrainingArguments(
        output_dir=str(job.work),
        num_train_epochs=settings.num_train_epochs or 1,  # max_steps overrides it
        max_steps=settings.max_steps or -1,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        eval_strategy="epoch" if has_eval else "no",
        logging_steps=1,
        save_steps=settings.save_steps,
        save_total_limit=1,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to="none",
    )
    trainer = _EvaluatingApart(
        model=model,
        args=arguments,
        data_collator=_collate,
        train_dataset=_columns(job.train_rows),
        eval_dataset=_columns(job.eval_rows) if has_eval else None,
        callbacks=[_said(job.progress)],
    )
    trainer.remove_callback(PrinterCallback)  # it prints on stdout
    return trainer


class _EvaluatingApart(Trainer):  # type: ignore[misc] # transformers is not followed
    """Measuring changes nothing of what is trained: it draws from random numbers of its own."""

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As the Trainer does."""
        with torch.random.fork_rng():
            measured: dict[str, float] = super().evaluate(*args, **kwargs)
        return measured


def _columns(rows: Sequence[TrainingRow]) -> list[dict[str, list[int]]]:
    return [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]


def _collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """A batch ``[B, T]``, padded on the right, where neither mask nor labels count."""

    def padded(columns: Iterator[list[int]], value: int) -> torch.Tensor:
        return pad_sequence([torch.tensor(ids) for ids in columns], True, value)

    return {
        "input_ids": padded((row["input_ids"] for row in rows), 0),
        "attention_mask": padded(([1] * len(row["input_ids"]) for row in rows), 0),
        "labels": padded((row["labels"] for row in rows), IGNORE_INDEX),
    }


def _said(progress: Progress) -> TrainerCallback:
    """A callback that says each step and its loss."""

    class Said(TrainerCallback):  # type: ignore[misc] # transformers is not followed
        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            if "loss" in logs:
                at = f"training: step {state.global_step} of {state.max_steps}"
                progress(f"{at}, loss {logs['loss']:.3f}")
            elif "eval_loss" in logs:
                at = f"evaluated after step {state.global_step}"
                progress(f"{at}: loss {logs['eval_loss']:.3f}")

    return Said()


def _last_eval_loss(trainer: Trainer) -> float:
    """The loss after the last step, measured if the epoch's end did not."""
    for entry in reversed(trainer.state.log_history):
        if "eval_loss" in entry and entry["step"] == trainer.state.global_step:
            measured: float = entry["eval_loss"]
            return measured
    loss: float = trainer.evaluate()["eval_loss"]
    return loss


def _save(job: TrainingJob, model: PeftModel, folder: Path) -> None:
    config = model.peft_config["default"]
    config.base_model_name_or_path = job.base
    config.revision = job.checkpoint.revision
    config.target_modules = sorted(config.target_modules)  # a set has no order of its own
    config.init_lora_weights = True  # peft would compute LoftQ's start again on loading
    config.loftq_config = {}
    model.save_pretrained(str(folder), save_embedding_layers=False)
    if job.settings.method == "loftq":
        _save_base(job.checkpoint, model.unload(), folder / "base")


def _save_base(checkpoint: Checkpoint, model: PreTrainedModel, folder: Path) -> None:
    """The weights LoftQ left, as a checkpoint of their own."""
    model.generation_config = GenerationConfig()  # save_pretrained refuses what many have
    model.save_pretrained(folder)
    checkpoint.copy_companions(folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep libraries from talking, and their changes of the environment from lasting."""
    environment, disabled = dict(os.environ), logging.root.manager.disable
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        hf_logging.set_verbosity(verbosity)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


@contextlib.contextmanager
def _own_random_state() -> Iterator[None]:
    """Leave the process's random numbers as they were: a training seeds them all."""
    states: tuple[tuple[Callable[[Any], Any], Any], ...] = (
        (random.setstate, random.getstate()),
        (np.random.set_state, np.random.get_state()),
    )
    with torch.random.fork_rng():
        try:
            yield
        finally:
            for restore, state in states:
                restore(state)
