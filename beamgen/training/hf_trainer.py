"""transformers' Trainer, given ids and labels.

It takes the loss of the model's own forward: what is learned of which token does not
depend on a library's idea of an architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from beamgen.export.prove import Progress
from beamgen.training.request import FinetuneRequest
from beamgen.training.settings import TrainingSettings
from beamgen.training.token_ids import IGNORE_INDEX, TrainingRow

#: Called as a model is, by HF's names.
Forward = Callable[..., Any]


def make_trainer(
    request: FinetuneRequest,
    model: torch.nn.Module,
    forward: Forward | None,
    work: Path,
    progress: Progress,
) -> Trainer:
    """A Trainer of this model that saves in ``work`` and prints nothing.

    Args:
        request: what is trained, and how.
        model: whose parameters are trained and saved.
        forward: what is called in place of the model, or None.
        work: the folder of the points to resume from.
        progress: called with one line at a time.
    """
    has_eval = bool(request.eval_rows)
    trainer = _OwnTrainer(
        forward,
        model=model,
        args=_arguments(request.settings, work, has_eval=has_eval),
        data_collator=collate,
        train_dataset=_columns(request.train_rows),
        eval_dataset=_columns(request.eval_rows) if has_eval else None,
        callbacks=[_reporting_to(progress)],
    )
    trainer.remove_callback(PrinterCallback)  # it prints on stdout
    return trainer


def last_eval_loss(trainer: Trainer) -> float:
    """The loss after the last step, measured if the epoch's end did not."""
    for entry in reversed(trainer.state.log_history):
        if "eval_loss" in entry and entry["step"] == trainer.state.global_step:
            measured: float = entry["eval_loss"]
            return measured
    loss: float = trainer.evaluate()["eval_loss"]
    return loss


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """A batch ``[B, T]``, padded on the right, where neither mask nor labels count."""

    def padded(columns: Iterator[list[int]], value: int) -> torch.Tensor:
        return pad_sequence([torch.tensor(ids) for ids in columns], True, value)

    batch = {
        "input_ids": padded((row["input_ids"] for row in rows), 0),
        "attention_mask": padded(([1] * len(row["input_ids"]) for row in rows), 0),
        "labels": padded((row["labels"] for row in rows), IGNORE_INDEX),
    }
    if "decoder_input_ids" in rows[0]:
        batch["decoder_input_ids"] = padded((row["decoder_input_ids"] for row in rows), 0)
    return batch


def _arguments(settings: TrainingSettings, work: Path, *, has_eval: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
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


class _OwnTrainer(Trainer):  # type: ignore[misc] # transformers is not followed
    """A Trainer whose evaluations change no training, and which may call another forward pass."""

    def __init__(self, forward: Forward | None, **named: Any) -> None:
        super().__init__(**named)
        self._forward = forward

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure the loss as the Trainer does, with random numbers of its own."""
        with torch.random.fork_rng():
            measured: dict[str, float] = super().evaluate(*args, **kwargs)
        return measured

    def compute_loss(self, model: torch.nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss as the Trainer computes it, in training and in evaluation alike."""
        return super().compute_loss(self._forward or model, inputs, *args, **kwargs)


def _columns(rows: Sequence[TrainingRow]) -> list[dict[str, list[int]]]:
    return [{k: v for k, v in vars(row).items() if v is not None} for row in rows]


def _reporting_to(progress: Progress) -> TrainerCallback:
    """A callback that reports each step and its loss."""

    class Reporting(TrainerCallback):  # type: ignore[misc] # transformers is not followed
        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            if "loss" in logs:
                at = f"training: step {state.global_step} of {state.max_steps}"
                progress(f"{at}, loss {logs['loss']:.3f}")
            elif "eval_loss" in logs:
                at = f"evaluated after step {state.global_step}"
                progress(f"{at}: loss {logs['eval_loss']:.3f}")

    return Reporting()
