"""Export one decoder step and clean what the tracer left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript import OnnxFunction
from transformers import PreTrainedModel

from beamgen.adapter import DecoderAdapter
from beamgen.decoder import contract
from beamgen.decoder.expert_loops import loop_over_experts
from beamgen.decoder.graph import DecoderGraph
from beamgen.decoder.passes.drop_noops import drop_noops
from beamgen.decoder.passes.fold_shapes import fold_shapes
from beamgen.decoder.passes.place_weights import place_weights
from beamgen.decoder.passes.unstack_weights import unstack_weights
from beamgen.decoder.seq2seq_step import loop_step
from beamgen.decoder.trace import trace
from beamgen.decoder.traced_step import TracedStep
from beamgen.errors import AdapterError, BeamgenError, one_line
from beamgen.lora.slots import Slot
from beamgen.onnx_domain import DOMAIN
from beamgen.tape import body, define

OPSET = 23  # the standard Attention operator; the trace's import is raised to it
_IR_VERSION = 10


def export_decoder(
    adapter: DecoderAdapter,
    model: PreTrainedModel,
    folder: Path,
    make_step: Callable[[DecoderAdapter, PreTrainedModel, Sequence[Slot]], TracedStep] = loop_step,
    slots: Sequence[Slot] = (),
    *,
    every_expert: bool = False,
) -> DecoderGraph:
    """Trace ``model`` into a decoder contract.

    The model is changed (prepared for tracing) and should be dropped afterwards.
    Large weights stay in files below ``folder``, which therefore has to outlive
    the returned value.

    Args:
        adapter: the architecture's.
        model: HF model with its language-modelling head, fp32, on the CPU.
        folder: an existing folder for the raw trace.
        make_step: which contract: ``loop_step``, ``ContribStep`` or ``SingleStep``.
        slots: the linear layers that take a LoRA.
        every_expert: let the products of each expert stand in the graph, where they can be
            rounded, and not one loop over a layer's experts.

    Raises:
        AdapterError: the model cannot be traced, or the trace breaks the contract.
    """
    raw = folder / "traced.onnx"
    try:
        step = make_step(adapter, model, slots).eval()
        if not every_expert:
            loop_over_experts(step.model, [slot.module for slot in slots])
        trace(step, raw)
    except BeamgenError:
        raise
    except Exception as error:  # whatever a model's code, or the tracer, makes of each other
        raise AdapterError(
            f"the adapter '{adapter.name}' cannot be traced with transformers "
            f"{metadata.version('transformers')}: {one_line(error)}",
            "export in an environment with another one, 4.57 or 5.24 (docs/transformers.md)",
        ) from error
    decoder = clean(ir.load(raw), step.functions)
    step.check_slots({value.name or "" for value in decoder.graph.inputs})
    contract.complete(decoder, step.contract)
    contract.verify(decoder, step.contract)
    window = adapter.position_limits(model.config).attention_window
    return DecoderGraph(
        decoder, step.geometry, window, step.slots, adapter.counts_padding, step.sources
    )


def clean(model: ir.Model, functions: Sequence[OnnxFunction[Any, Any]]) -> ir.Model:
    """Make a trace a decoder: raise its opset, give our nodes their bodies, drop the rest."""
    model.opset_imports.update({"": OPSET, DOMAIN: 1})
    model.ir_version = _IR_VERSION
    passes.IdentityEliminationPass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    fold_shapes(model)
    drop_noops(model)
    unstack_weights(model)
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
