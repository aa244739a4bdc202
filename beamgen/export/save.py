"""A graph is written with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.package.folder import MODEL, WEIGHTS

if TYPE_CHECKING:
    import onnx_ir as ir

#: Above this many bytes of weights they go into ``model.onnx.data``: one protobuf
#: message holds at most 2 GiB.
EXTERNAL_DATA_BYTES = 2_000_000_000
#: Above this many bytes a package's weights do, unless one file is asked for: ONNX Runtime maps
#: them, so that they load in half the time and memory (docs/performance.md has both).
MAPPED_BYTES = 200_000_000


def save_graph(graph: ir.Model, folder: Path, *, external_data: bool = False) -> None:
    """Write ``model.onnx``, with ``model.onnx.data`` beside it if wished or if it would not fit."""
    import onnx_ir as ir

    external = stands_outside(external_data, weight_bytes(graph))
    if not external:  # what was read from a file with external data would still point there
        ir.external_data.load_to_model(graph)
    ir.save(graph, folder / MODEL, external_data=WEIGHTS if external else None)


def stands_outside(asked: bool | None, size: int) -> bool:
    """Whether weights go into ``model.onnx.data``.

    Args:
        asked: that they should, or should not; None goes by their size.
        size: of all weights, in bytes.
    """
    return size > (MAPPED_BYTES if asked is None else EXTERNAL_DATA_BYTES) or bool(asked)


def weight_bytes(model: ir.Model) -> int:
    """The size in bytes of all initializers, those of bodies included."""
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )
