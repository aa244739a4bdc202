"""Export one decoder step through optimum and clean what the tracer left."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from onnxscript import OnnxFunction
from optimum.exporters.onnx import export as optimum_export
from transformers import PreTrainedModel

from beamgen.adapter import DecoderAdapter
from beamgen.decoder import contract
from beamgen.decoder.graph import DecoderGraph
from beamgen.decoder.loop_step import LoopStep
from beamgen.decoder.onnx_config import StepOnnxConfig
from beamgen.decoder.passes.drop_noops import drop_noops
from beamgen.decoder.passes.fold_shapes import fold_shapes
from beamgen.decoder.passes.place_weights import place_weights
from beamgen.decoder.traced_step import TracedStep
from beamgen.lora.slots import Slot
from beamgen.onnx_domain import DOMAIN
from beamgen.tape import body, define

OPSET = 23  # the standard Attention operator
# The TorchScript exporter stops at 20; the operators it leaves in a decoder are
# the same up to 23, so the import is raised after the trace.
_TRACE_OPSET = 18
_IR_VERSION = 10


def export_decoder(
    adapter: DecoderAdapter,
    model: PreTrainedModel,
    folder: Path,
    make_step: Callable[[DecoderAdapter, PreTrainedModel, Sequence[Slot]], TracedStep] = LoopStep,
    slots: Sequence[Slot] = (),
) -> DecoderGraph:
    """Trace ``model`` into a decoder contract.

    The model is changed (prepared for tracing) and should be dropped afterwards.
    Large weights stay in files below ``folder``, which therefore has to outlive
    the returned value.

    Args:
        adapter: the architecture's.
        model: HF model with its language-modelling head, fp32, on the CPU.
        folder: an existing folder for the raw trace.
        make_step: which contract: ``LoopStep``, ``ContribStep`` or ``SingleStep``.
        slots: the linear layers that take a LoRA.

    Raises:
        AdapterError: the traced decoder breaks the contract.
    """
    raw = folder / "traced.onnx"
    step = make_step(adapter, model, slots).eval()
    with _quiet(), torch.no_grad():
        optimum_export(
            step,
            StepOnnxConfig(step),
            raw,
            opset=_TRACE_OPSET,
            # Would load the file in ONNX Runtime, which does not know our node yet.
            disable_dynamic_axes_fix=True,
            # Would store a transposed copy of every weight; place_weights does better.
            do_constant_folding=False,
        )
    decoder = clean(ir.load(raw), step.functions)
    contract.complete(decoder, step.contract)
    contract.verify(decoder, step.contract)
    window = adapter.position_limits(model.config).attention_window
    return DecoderGraph(decoder, step.geometry, window, step.slots, adapter.counts_padding)


def clean(model: ir.Model, functions: Sequence[OnnxFunction[Any, Any]]) -> ir.Model:
    """Make a trace a decoder: raise its opset, give our nodes their bodies, drop the rest."""
    model.opset_imports.update({"": OPSET, DOMAIN: 1})
    model.ir_version = _IR_VERSION
    passes.IdentityEliminationPass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    fold_shapes(model)
    drop_noops(model)
    place_weights(model)
    tidy = (
        passes.RemoveUnusedNodesPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.DeduplicateInitializersPass(),
        passes.RemoveUnusedNodesPass(),
        # The tracer's notes hold file paths of the machine it ran on.
        passes.ClearMetadataAndDocStringPass(),
    )
    for tidy_pass in tidy:
        tidy_pass(model)
    # after the passes, which drop outputs that nobody reads
    define(model, map(body, functions))
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
