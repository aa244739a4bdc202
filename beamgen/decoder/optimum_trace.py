"""optimum's exporter, for a decoder contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from optimum.exporters.onnx import export
from optimum.exporters.onnx.config import TextDecoderOnnxConfig
from optimum.utils import NormalizedTextConfig

from beamgen.decoder.traced_step import TracedStep


def trace_with_optimum(step: TracedStep, raw: Path, opset: int) -> None:
    """Write the trace of a step, external data beside it where it is large."""
    export(
        step,
        _StepOnnxConfig(step),
        raw,
        opset=opset,
        # Would load the file in ONNX Runtime, which does not know our node yet.
        disable_dynamic_axes_fix=True,
        # Would store a transposed copy of every weight; place_weights does better.
        do_constant_folding=False,
    )


class _StepOnnxConfig(TextDecoderOnnxConfig):  # type: ignore[misc] # optimum is untyped
    """Names, dynamic axes and dummy inputs of a step."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig

    def __init__(self, step: TracedStep) -> None:
        """Take everything from the step's contract."""
        super().__init__(
            step.config, task="text-generation", use_past=True, use_past_in_inputs=True
        )
        self._step = step

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """The dynamic axes of each input of the contract."""
        return {name: port.dynamic_axes for name, port in self._step.contract.inputs.items()}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """The dynamic axes of each output of the contract."""
        return {name: port.dynamic_axes for name, port in self._step.contract.outputs.items()}

    def ordered_inputs(self, model: torch.nn.Module) -> dict[str, dict[int, str]]:
        """The inputs, which are in the order of the step's ``forward`` already."""
        return self.inputs

    def generate_dummy_inputs(self, framework: str = "pt", **_: Any) -> dict[str, Any]:
        """Inputs for the trace."""
        return self._step.dummy_inputs()
