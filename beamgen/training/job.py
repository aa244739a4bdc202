"""What goes into a training, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.export.prove import Progress
from beamgen.training.data import TrainingRow
from beamgen.training.settings import TrainingSettings


@dataclass(frozen=True)
class FinetuneResult:
    """What ``finetune`` made.

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


@dataclass(frozen=True)
class TrainingJob:
    """All a trainer needs.

    Attributes:
        checkpoint: what is trained.
        settings: how.
        train_rows: what is learned.
        eval_rows: what the loss is measured on besides, maybe nothing.
        work: the folder of the points to resume from.
        resume_from: the one to go on from, or None to begin.
        base: what the PEFT folder names as its base model.
        progress: called with one line at a time.
    """

    checkpoint: Checkpoint
    settings: TrainingSettings
    train_rows: Sequence[TrainingRow]
    eval_rows: Sequence[TrainingRow]
    work: Path
    resume_from: Path | None
    base: str
    progress: Progress
