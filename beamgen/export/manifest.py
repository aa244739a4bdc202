"""A graph that was just built gets its manifest."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from beamgen.export.request import ExportRequest
from beamgen.package.manifest import Encoder, Manifest
from beamgen.quantization.record import Precision
from beamgen.seq2seq_adapter import Seq2SeqAdapter

if TYPE_CHECKING:
    import onnx_ir as ir

    from beamgen.lora.slots import Slot

_VERSIONED = ("beamgen", "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnx-ir",
              "onnxscript", "onnxruntime")  # fmt: skip


def manifest_of(request: ExportRequest, graph: ir.Model, precision: Precision) -> Manifest:
    """What ``beamgen.json`` says of a graph, before any parity check."""
    checkpoint, slots = request.checkpoint, request.slots
    of_slots = {name for slot in slots for name in slot.inputs}
    meanings = {parameter.name: parameter.meaning for parameter in request.parameters}
    return Manifest(
        adapter=request.adapter.name,
        backend=request.backend,
        source={
            **checkpoint.origin,
            "revision": checkpoint.revision,
            "dtype": checkpoint.dtype,
            "lora": checkpoint.lora,
            **({"ignored": list(checkpoint.ignored)} if checkpoint.ignored else {}),
            **({"decoder": dict(request.decoder.record)} if request.decoder else {}),
        },
        dtype="float32",
        vocab_size=checkpoint.vocab_size,
        limits=request.adapter.position_limits(checkpoint.config),
        cache=request.geometry,
        encoder=_encoder(request),
        counts_padding=request.adapter.counts_padding,
        search=request.search,
        rules=request.rules,
        inputs=[
            {
                **_row(value),
                "meaning": meanings.get(value.name or "", value.doc_string),
                "default": _default(value),
            }
            for value in graph.graph.inputs
            if value.name not in of_slots
        ],
        outputs=[{**_row(value), "meaning": value.doc_string} for value in graph.graph.outputs],
        versions=_versions(),
        precision=precision,
        lora_slots=tuple(_as_in(graph, slot) for slot in slots),
    )


def _as_in(graph: ir.Model, slot: Slot) -> Slot:
    """A slot, and whether the graph takes one LoRA for all rows in it."""
    (a,) = (value for value in graph.graph.inputs if value.name == slot.inputs[0])
    return replace(slot, shared=a.shape is not None and a.shape[0] == 1)


def _encoder(request: ExportRequest) -> Encoder | None:
    """What comes before the decoder, if anything does."""
    if not isinstance(request.adapter, Seq2SeqAdapter):
        return None
    adapter, config = request.adapter, request.checkpoint.config
    return Encoder(
        request.start[0], adapter.source_positions(config), adapter.prepends_start, request.tasks
    )


def _versions() -> dict[str, str]:
    """Of what took part, as far as it is installed: optimum is not beside transformers 5."""
    found = {}
    for name in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _default(value: ir.Value) -> list[Any] | str | None:
    """The default of an input, or None; a mask over the vocabulary in words."""
    tensor = value.const_value
    if tensor is None:
        return None
    listed: list[Any] = tensor.numpy().tolist()
    return "1, and 0 at banned ids" if (value.name or "").endswith("vocab_mask") else listed


def _row(value: ir.Value) -> dict[str, Any]:
    return {
        "name": value.name,
        "dtype": str(value.dtype).lower(),
        "shape": [dim if isinstance(dim, int) else dim.value for dim in (value.shape or ())],
    }
