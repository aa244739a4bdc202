"""A's and B's, which files hold one by one, put together."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from beamgen.lora.fit import refusal
from beamgen.lora.slots import A, B, Floats

#: What peft puts before a module's path.
PREFIX = "base_model.model."


def split_name(name: str) -> tuple[str, str | None]:
    """Part ``base_model.model.MODULE.lora_A.weight`` into MODULE and ``lora_A.weight``, or None."""
    for part in (A, B):
        if name.endswith(f".{part}"):
            return name.removesuffix(f".{part}").removeprefix(PREFIX), part
    return name, None


@dataclass
class PairedTensors:
    """A's and B's by module, as they come in any order; what is wrong goes to ``problems``."""

    found: dict[str, dict[str, Floats]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, module: str, part: str, tensor: Floats) -> None:
        """Take a tensor, with A as ``[K, r]`` and B as ``[r, N]``."""
        if tensor.ndim != 2:
            self.problems.append(f"{module}.{part} has shape {list(tensor.shape)}, not two axes")
        elif not np.isfinite(tensor).all():
            self.problems.append(f"{module}.{part} holds infinities or not-a-numbers")
        parts = self.found.setdefault(module, {})
        if part in parts:
            self.problems.append(f"{module}.{part} is there twice, of LoRAs of two names")
        parts[part] = tensor

    def pairs(self) -> dict[str, tuple[Floats, Floats]]:
        """The pairs by module, in the model's order; ``problems`` tells what is missing."""
        complete = {}
        for module in sorted(self.found, key=_natural):
            parts = self.found[module]
            if len(parts) < 2:
                (there,) = parts
                missing = B if there == A else A
                self.problems.append(f"{module}.{missing} is missing, {there} is there")
            elif any(tensor.ndim != 2 for tensor in parts.values()):
                continue  # it was said
            elif parts[A].shape[1] != parts[B].shape[0]:
                ranks = parts[A].shape[1], parts[B].shape[0]
                self.problems.append(f"{module}.{A} has rank {ranks[0]}, {B} has {ranks[1]}")
            else:
                complete[module] = (parts[A], parts[B])
        return complete

    def check(self, source: str, cure: str) -> None:
        """Refuse what could not be paired, or is nothing at all.

        Raises:
            LoraError: it lists the problems.
        """
        if self.problems or not self.found:
            raise refusal(source, self.problems or ["it holds no LoRA weights"], cure)


def _natural(module: str) -> list[tuple[int, str]]:
    """A key that sorts layer 10 after layer 9."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"\.", module)]
