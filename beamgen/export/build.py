"""A request becomes a graph: checkpoint, then decoder, then search."""

from __future__ import annotations

import gc
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.errors import BeamgenWarning, MissingExtraError
from beamgen.export.prove import Progress
from beamgen.export.quality import measured
from beamgen.export.request import ExportRequest
from beamgen.export.save import stands_outside, weight_bytes
from beamgen.export.texts import Texts
from beamgen.quantization.record import Precision
from beamgen.quantization.saturation import inexact

if TYPE_CHECKING:
    import onnx_ir as ir

    from beamgen.decoder.graph import DecoderGraph


@dataclass(frozen=True)
class Built:
    """What became of a request.

    Attributes:
        graph: the search around the decoder.
        precision: how its weights are stored, and what that costs.
        external_data: whether the graph was laid out for weights in a file of their own.
    """

    graph: ir.Model
    precision: Precision
    external_data: bool


def build_graph(request: ExportRequest, scratch: Path, texts: Texts | None, say: Progress) -> Built:
    """The graph of a request, and its precision with what that costs.

    Args:
        request: what is to be built.
        scratch: an empty folder; large weights stay in files there.
        texts: on which the loss of quality is measured, if any.
        say: called with one line as each stage begins.

    Raises:
        MissingExtraError: what exports is not installed.
        CheckpointError, LoraError: the weights do not load.
    """
    try:
        from beamgen.decoder.contrib_step import ContribStep
        from beamgen.decoder.export import export_decoder
        from beamgen.decoder.passes.quantize import quantize
        from beamgen.decoder.seq2seq_step import loop_step
        from beamgen.export.teacher_forcing import TeacherForcing
    except ImportError as error:
        raise MissingExtraError("beamgen export", "export", error.name or "torch") from error
    if request.decoder is not None:
        given = request.decoder.graph(request.checkpoint, request.adapter)
        return _searched(request, given, Precision())
    model = request.checkpoint.load_merged()
    step = ContribStep if request.backend == "contrib" else loop_step
    asked = request.precision
    rounded = asked.name != "fp32"
    decoder = export_decoder(
        request.adapter, model, scratch, step, request.slots, every_expert=rounded
    )
    del model
    gc.collect()
    precision = quantize(decoder.model, asked.name, asked.int8_weights)
    if precision.name != "fp32":
        say(f"measuring what {precision.name} costs")
        alone = decoder
        # The contrib decoder cannot be asked for all places of a text; and where int8 weights
        # overflow, uint8 ones give what they would give elsewhere.
        if request.backend == "contrib" or inexact(precision.multiplied):
            (scratch / "alone").mkdir()
            alone = export_decoder(
                request.adapter,
                request.checkpoint.load_merged(),
                scratch / "alone",
                every_expert=True,
            )
            quantize(alone.model, asked.name, "u8" if inexact(precision.multiplied) else "auto")
        runner = TeacherForcing(alone, scratch)
        precision = measured(precision, request.checkpoint, request.adapter, runner, texts)
        del alone, runner
        gc.collect()
    return _searched(request, decoder, precision)


def _searched(request: ExportRequest, decoder: DecoderGraph, precision: Precision) -> Built:
    """HF's search, or ONNX Runtime's, around a decoder."""
    from beamgen.search.contrib import build_contrib
    from beamgen.search.loop import build_loop

    external = stands_outside(request.external_data, weight_bytes(decoder.model))
    if external and request.external_data is False:
        warnings.warn(
            "one file holds at most 2 GB: the weights stand in model.onnx.data",
            BeamgenWarning,
            stacklevel=2,
        )
    if request.backend == "contrib":
        graph = build_contrib(decoder, request.search, request.required)
        return Built(graph, precision, external)
    graph = build_loop(
        decoder,
        request.search,
        request.rules,
        request.required,
        start=request.start,
        external=external,
    )
    return Built(graph, precision, external)
