"""What came out of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FinetuneResult:
    """A trained LoRA and its losses.

    Attributes:
        folder: the PEFT folder.
        base: the checkpoint the LoRA belongs to: a folder, a hub id or ``demo:NAME``.
            With ``loftq`` it is ``folder/base``.
        method: one of ``METHODS``.
        steps: optimizer steps made.
        train_loss: mean over the steps, nats per completion token.
        eval_loss_before: on the evaluation's rows with the LoRA's start, or None.
        eval_loss: the same after training, or None.
        trainable_parameters: numbers in the LoRA.
    """

    folder: Path
    base: str
    method: str
    steps: int
    train_loss: float
    eval_loss_before: float | None
    eval_loss: float | None
    trainable_parameters: int
