"""A forward pass through the rounding of a file, for a model that is being trained.

It computes what ``beamgen.quantization.emulate`` makes of the weights that the model has at
that moment, so that the loss is that of the file which would be exported.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (arXiv:1712.05877), section 3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.func import functional_call

from beamgen.errors import CheckpointError
from beamgen.quantization.emulate import ACTIVATIONS, Reader, round_inputs, rounded
from beamgen.quantization.straight_through import Round, straight_through

_ADAPTER = "default"  # what peft calls a model's first LoRA


@dataclass(frozen=True)
class _Weight:
    """A parameter as the forward pass reads it.

    Attributes:
        module: whose it is.
        name: what the module calls it.
        by_row: see ``Reader``; None where it is not rounded.
        precision: see ``Reader``; None where it is not rounded.
        lora: peft's layer around the module, whose A and B are added first; or None.
    """

    module: torch.nn.Module
    name: str
    by_row: bool | None
    precision: str | None
    lora: Any

    @property
    def parameter(self) -> torch.nn.Parameter:
        """The parameter itself, which modules may share."""
        return self.module.get_parameter(self.name)

    def value(self) -> torch.Tensor:
        """The numbers that a product or lookup of the file reads."""
        weight: torch.Tensor = self.parameter
        if self.lora is not None:
            weight = weight + self.lora.get_delta_weight(_ADAPTER)  # in peft's order of merging
        if self.by_row is None or self.precision is None:
            return weight
        rounding = partial(rounded, precision=self.precision, by_row=self.by_row)
        return straight_through(weight, rounding)


class RoundedForward:
    """Called as the model is, it gives what the rounded model gives, with gradients."""

    def __init__(
        self,
        model: torch.nn.Module,
        readers: Sequence[Reader],
        *,
        merged: bool,
    ) -> None:
        """Prepare a model, whose parameters stay as they are.

        Args:
            model: HF's, or peft's around it.
            readers: HF's modules that read what the file rounds.
            merged: whether a LoRA is added to the weights before they are rounded, as a merging
                export does; otherwise it is added to what the rounded layers give, as by slots.
        """
        self._model: Any = model
        self._merged = merged and isinstance(model, PeftModel)
        names = {id(module): name for name, module in model.named_modules()}
        self._weights = {
            f"{names[id(weight.module)]}.{weight.name}": weight
            for weight in _weights(model, readers, merged=self._merged)
        }
        self._frozen: dict[int, torch.Tensor] = {}
        for reader in readers:
            round_inputs(reader, partial(_rounded_input, ACTIVATIONS[reader.precision]))

    def __call__(self, **inputs: Any) -> Any:
        """HF's output of these inputs."""
        values = self._values()  # first, for within, A and B are not trained
        with self._without_lora():
            return functional_call(self._model, values, kwargs=inputs, tie_weights=False)

    def _without_lora(self) -> AbstractContextManager[Any]:
        """Where it is in the weights already, peft's layers add nothing."""
        return self._model.disable_adapter() if self._merged else contextlib.nullcontext()

    def _values(self) -> dict[str, torch.Tensor]:
        """What each parameter is replaced by; one that modules share is computed once."""
        shared: dict[tuple[int, int], torch.Tensor] = {}
        values = {}
        for name, weight in self._weights.items():
            key = id(weight.parameter), id(weight.lora)
            if key not in shared:
                shared[key] = self._value(weight)
            values[name] = shared[key]
        return values

    def _value(self, weight: _Weight) -> torch.Tensor:
        """What a parameter is worth now; one that is not trained is rounded once and for all."""
        if weight.lora is not None or weight.parameter.requires_grad:
            return weight.value()
        key = id(weight.parameter)
        if key not in self._frozen:
            self._frozen[key] = weight.value()
        return self._frozen[key]


def _rounded_input(rounding: Round, x: torch.Tensor) -> tuple[torch.Tensor, None]:
    return straight_through(x, rounding), None


def check_trains(readers: Sequence[Reader], source: str) -> None:
    """Refuse a model with stacks of matrices, which are not trained through their rounding.

    Raises:
        CheckpointError: it has some.
    """
    if any(reader.stacks for reader in readers):
        raise CheckpointError(
            f"{source} keeps its experts in stacks, which are not trained through rounding",
            "train with --method lora",
        )


def _weights(model: torch.nn.Module, readers: Sequence[Reader], *, merged: bool) -> list[_Weight]:
    """What is rounded, and what a LoRA changes without being rounded."""
    loras = {
        id(layer.get_base_layer()): layer
        for layer in model.modules()
        if merged and isinstance(layer, BaseTunerLayer)
    }
    found = [
        _Weight(reader.module, name, by_row, reader.precision, loras.pop(id(reader.module), None))
        for reader in readers
        for name, by_row in reader.by_row.items()
    ]
    rest = [
        _Weight(layer.get_base_layer(), "weight", None, None, layer) for layer in loras.values()
    ]
    return [*found, *rest]
