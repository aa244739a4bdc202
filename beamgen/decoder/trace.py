"""A step is traced: by optimum where it runs, by torch alone elsewhere, to equal bytes."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from beamgen.decoder.traced_step import TracedStep

# The TorchScript exporter stops at 20; the operators it leaves in a decoder are
# the same up to the standard Attention's 23.
_OPSET = 18


def trace(step: TracedStep, raw: Path) -> None:
    """Write the trace of a step to a file, large weights beside it.

    optimum-onnx 0.1 runs with transformers 4.57 only.
    """
    with quiet(), torch.no_grad():
        try:
            from beamgen.decoder.optimum_trace import trace_with_optimum
        except ImportError:
            trace_with_torch(step, raw, _OPSET)
        else:
            trace_with_optimum(step, raw, _OPSET)


def trace_with_torch(step: TracedStep, raw: Path, opset: int = _OPSET) -> None:
    """Write the trace of a step with torch's exporter alone.

    Source: ``torch.onnx.export`` with ``dynamo=False``, as ``optimum.exporters.onnx.export``
    calls it.
    """
    inputs, outputs = step.contract.inputs, step.contract.outputs
    torch.onnx.export(
        step,
        (step.dummy_inputs(),),
        raw,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_axes={name: port.dynamic_axes for name, port in {**inputs, **outputs}.items()},
        opset_version=opset,
        # Would store a transposed copy of every weight; place_weights does better.
        do_constant_folding=False,
        dynamo=False,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the tracer's warnings about our own, intended, Python numbers to itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "optimum")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
