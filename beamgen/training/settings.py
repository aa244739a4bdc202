"""The settings of a training, and which values they may have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from beamgen.errors import SettingError, close_matches
from beamgen.lora.targets import ALL_LINEAR

#: LoRA on the model as it is; on an nf4 copy of it; with LoftQ's start; or, as all weights may be,
#: through a file's rounding.
METHODS = ("lora", "qlora", "loftq", "qat")
#: Those that train through the rounding of a file, and the precisions that a file may have then.
ROUNDED_METHODS = ("loftq", "qat")
_ROUNDED_PRECISIONS = ("int8", "int4")

_EPOCHS = 3.0  # HF's own default


@dataclass(frozen=True)
class TrainingSettings:
    """What a training depends on besides the checkpoint and the data; names as in HF.

    Attributes:
        method: one of ``METHODS``.
        precision: of the file through whose rounding ``loftq`` and ``qat`` train; None elsewhere.
        all_weights: whether ``qat`` trains every weight in place of a LoRA.
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

    method: str = "lora"
    precision: str | None = None
    all_weights: bool = False
    rank: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.0
    target_modules: str | tuple[str, ...] = ALL_LINEAR
    use_rslora: bool = False
    num_train_epochs: float | None = None
    max_steps: int | None = None
    learning_rate: float = 2e-4
    batch_size: int = 8
    max_length: int | None = None
    seed: int = 0
    save_steps: int = 50

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> TrainingSettings:
        """The settings among the options of ``finetune``; the others have their defaults.

        Raises:
            SettingError: values that are not possible, all of them named.
        """
        given = {each.name: options[each.name] for each in fields(cls) if each.name in options}
        given["target_modules"] = _module_names(given.get("target_modules", ALL_LINEAR))
        if given.get("num_train_epochs") is None and given.get("max_steps") is None:
            given["num_train_epochs"] = _EPOCHS
        return cls(**given)

    def __post_init__(self) -> None:
        """Refuse impossible values, all at once."""
        _check_method(self.method)
        _check_precision(self.method, self.precision)
        wrong = [
            f"{name} {getattr(self, name)} must be {meaning}"
            for name, (meaning, holds) in _RANGES.items()
            if getattr(self, name) is not None and not holds(getattr(self, name))
        ]
        if not self.target_modules:
            wrong.append("target_modules names no module")
        if self.num_train_epochs is not None and self.max_steps is not None:
            wrong.append("num_train_epochs and max_steps both say how long to train")
        wrong += self._unused()
        if wrong:
            raise SettingError("; ".join(wrong), "correct or leave out what is named")

    @property
    def rounds(self) -> bool:
        """Whether it trains through the rounding of a file."""
        return self.method in ROUNDED_METHODS

    def _unused(self) -> list[str]:
        """What was set, and would change nothing."""
        if self.all_weights and self.method != "qat":
            return [f"all_weights is of method qat, not of {self.method}"]
        if self.all_weights:
            defaults = {field.name: field.default for field in fields(self)}
            return [
                f"{name} is of a LoRA, and all_weights trains none"
                for name in _OF_A_LORA
                if getattr(self, name) != defaults[name]
            ]
        if self.method == "qat" and self.lora_dropout:
            return ["lora_dropout has no input to act on where qat adds the LoRA to the weights"]
        return []


_OF_A_LORA = ("rank", "lora_alpha", "lora_dropout", "target_modules", "use_rslora")


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


def _check_precision(method: str, precision: str | None) -> None:
    if method not in ROUNDED_METHODS:
        if precision is not None:
            raise SettingError(
                f"precision {precision} was asked for with method {method}, which rounds nothing",
                f"leave it out, or choose --method {' or '.join(ROUNDED_METHODS)}",
            )
        return
    if precision is None:
        raise SettingError(
            f"method {method} trains through the rounding of a file, and no precision was named",
            f"pass --precision {' or '.join(_ROUNDED_PRECISIONS)}",
        )
    if precision not in _ROUNDED_PRECISIONS:
        raise SettingError(
            f"method {method} has no precision called '{precision}'",
            close_matches(precision, _ROUNDED_PRECISIONS)
            or f"there are {', '.join(_ROUNDED_PRECISIONS)}",
        )
