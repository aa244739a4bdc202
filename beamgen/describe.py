"""The manifest of a graph that was just built."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint import Checkpoint
from beamgen.lora.slots import Slot
from beamgen.package import Manifest
from beamgen.parameters import Parameter
from beamgen.search_config import SearchConfig

if TYPE_CHECKING:
    import onnx_ir as ir

_VERSIONED = ("beamgen", "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnx-ir",
              "onnxscript", "onnxruntime")  # fmt: skip


def manifest_of(
    checkpoint: Checkpoint,
    adapter: DecoderAdapter,
    search: SearchConfig,
    backend: str,
    parameters: Sequence[Parameter],
    graph: ir.Model,
    slots: Sequence[Slot],
) -> Manifest:
    """What ``beamgen.json`` says of a graph, before any parity check."""
    of_slots = {name for slot in slots for name in slot.inputs}
    meanings = {parameter.name: parameter.meaning for parameter in parameters}
    return Manifest(
        adapter=adapter.name,
        backend=backend,
        source={
            **checkpoint.origin,
            "revision": checkpoint.revision,
            "dtype": checkpoint.dtype,
            "lora": checkpoint.lora,
        },
        dtype="float32",
        vocab_size=checkpoint.vocab_size,
        limits=adapter.position_limits(checkpoint.config),
        search=search,
        inputs=[
            {
                **_row(value),
                "meaning": meanings.get(value.name or "", value.doc_string),
                "default": _default(value),
            }
            for value in graph.graph.inputs
            if value.name not in of_slots
        ],
        outputs=[_row(value) for value in graph.graph.outputs],
        versions={name: metadata.version(name) for name in _VERSIONED},
        lora_slots=tuple(slots),
    )


def _default(value: ir.Value) -> list[Any] | str | None:
    """None where there is no default; a mask over the vocabulary in words."""
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
