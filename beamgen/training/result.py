"""What came out of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FinetuneResult:
    """A trained LoRA, or a trained checkpoint, and its losses.

    Attributes:
        folder: the PEFT folder, or with ``all_weights`` the checkpoint.
        base: the checkpoint the LoRA belongs to, or that all weights were trained of: a folder,
            a hub id or ``demo:NAME``. With ``loftq`` it is ``folder/base``.
        method: one of ``METHODS``.
        precision: of the file whose losses these are, or None: they are the float32 model's.
        all_weights: whether they were trained, and no LoRA.
        steps: optimizer steps made.
        train_loss: mean over the steps, nats per completion token.
        eval_loss_before: on the evaluation's rows before the first step, or None.
        eval_loss: the same after training, or None.
        trainable_parameters: numbers in the LoRA, or in the model.
    """

    folder: Path
    base: str
    method: str
    precision: str | None
    all_weights: bool
    steps: int
    train_loss: float
    eval_loss_before: float | None
    eval_loss: float | None
    trainable_parameters: int
