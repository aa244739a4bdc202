"""What a training depends on besides its checkpoint and data, and what values are possible."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from beamgen.errors import SettingError, close_matches

#: LoRA on the model as it is; on an nf4 copy of it; or with LoftQ's start.
METHODS = ("lora", "qlora", "loftq")


@dataclass(frozen=True)
class TrainingSettings:
    """What a training depends on besides the checkpoint and the data; names as in HF.

    Attributes:
        method: one of ``METHODS``.
        rank: of the LoRA matrices, peft's ``r``.
        lora_alpha: the LoRA is scaled by ``lora_alpha / rank``.
        lora_dropout: on the LoRA's input, while training.
        target_modules: ``all-linear``, or endings of module names.
        use_rslora: scale by ``lora_alpha / sqrt(rank)``.
        num_train_epochs: how often each row is seen, or None where ``max_steps`` counts.
        max_steps: optimizer steps, or None.
        learning_rate: at the start; it falls linearly to 0.
        batch_size: rows per step.
        max_length: tokens a row may have, or None for the model's positions.
        seed: of the LoRA's start, the order of the rows and dropout.
        save_steps: steps from one point to resume from to the next.
    """

    method: str
    rank: int
    lora_alpha: int
    lora_dropout: float
    target_modules: str | tuple[str, ...]
    use_rslora: bool
    num_train_epochs: float | None
    max_steps: int | None
    learning_rate: float
    batch_size: int
    max_length: int | None
    seed: int
    save_steps: int

    def __post_init__(self) -> None:
        """Refuse impossible values, all at once."""
        _check_method(self.method)
        wrong = [
            f"{name} {getattr(self, name)} must be {meaning}"
            for name, (meaning, holds) in _RANGES.items()
            if getattr(self, name) is not None and not holds(getattr(self, name))
        ]
        if not self.target_modules:
            wrong.append("target_modules names no module")
        if self.num_train_epochs is not None and self.max_steps is not None:
            wrong.append("num_train_epochs and max_steps both say how long to train")
        if wrong:
            raise SettingError("; ".join(wrong), "correct or leave out what is named")


def _whole(low: int, high: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and low <= value <= high


def _above_0(value: Any) -> bool:
    return math.isfinite(value) and value > 0


_RANGES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "rank": ("1 or more", _whole(1)),
    "lora_alpha": ("1 or more", _whole(1)),
    "lora_dropout": ("0 or more and below 1", lambda value: 0 <= value < 1),
    "num_train_epochs": ("above 0", _above_0),
    "max_steps": ("1 or more", _whole(1)),
    "learning_rate": ("above 0", _above_0),
    "batch_size": ("1 or more", _whole(1)),
    "max_length": ("2 or more", _whole(2)),
    "seed": ("between 0 and 2**32 - 1", _whole(0, 2**32 - 1)),
    "save_steps": ("1 or more", _whole(1)),
}


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise SettingError(
            f"there is no method called '{method}'",
            close_matches(str(method), METHODS) or f"there are {', '.join(METHODS)}",
        )
