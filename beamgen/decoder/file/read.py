"""A decoder file is read, held against its contract, and cleaned up."""

from __future__ import annotations

import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript.version_converter import ConvertVersionPass

from beamgen.adapter import KVGeometry
from beamgen.decoder.file.faces import Face, face, geometry_of, kind_of
from beamgen.decoder.file.violations import control_flow, external_files, violations
from beamgen.decoder.passes.place_weights import place_weights
from beamgen.errors import DecoderFileError, one_line

#: That of the search's functions.
_OPSET = 23
_CONTRACT = "docs/decoder-file.md has what a decoder file has to be, and how to export one"


@dataclass(frozen=True)
class FileDecoder:
    """A decoder that holds one of the faces.

    Attributes:
        model: cleaned up; its outputs are the logits, and the present in the face's order.
        face: what it takes and gives.
        geometry: of its cache.
        producer: what wrote the file, as it says itself.
        external_data: names of the files that its weights stand in.
    """

    model: ir.Model
    face: Face
    geometry: KVGeometry
    producer: str
    external_data: frozenset[str]

    @property
    def inputs(self) -> list[str]:
        """The names of what it takes."""
        return [value.name or "" for value in self.model.graph.inputs]


def read_decoder(path: Path, geometry: KVGeometry | None, vocab_size: int) -> FileDecoder:
    """Read a decoder file.

    Args:
        path: of the ``.onnx`` file; external data lies beside it.
        geometry: of the checkpoint's cache, or None: the file's own.
        vocab_size: V of the checkpoint.

    Raises:
        DecoderFileError: it is none, or breaks the contract; every violation is listed.
    """
    model = _load(path)
    _name_additive_mask(model.graph)
    inputs = {value.name or "": value for value in model.graph.inputs}
    kind = kind_of(inputs)
    known = geometry or geometry_of(inputs)
    if known is None:
        raise DecoderFileError(
            f"{path} does not hold a decoder: no past_key_values.0.key and .value of "
            "[batch, heads, past, width] with heads and width in numbers",
            _CONTRACT,
        )
    wanted = face(kind, known, vocab_size)
    _refuse(path, violations(model, wanted, path.parent))
    producer = f"{model.producer_name or ''} {model.producer_version or ''}".strip()
    beside = frozenset(external_files(model.graph))
    model = _raised(model, path)
    _refuse(path, list(control_flow(model.graph)))  # out of functions that were inlined
    _only_what_is_asked(model.graph, wanted)
    _clean(model)
    return FileDecoder(model, wanted, known, producer, beside)


def _refuse(path: Path, found: list[str]) -> None:
    if found:
        raise DecoderFileError(f"{path} is no decoder for a search: {'; '.join(found)}", _CONTRACT)


def _load(path: Path) -> ir.Model:
    if path.is_dir():
        inside = sorted(str(each.relative_to(path)) for each in path.rglob("*.onnx"))
        raise DecoderFileError(
            f"{path} is a folder" + (f" with {', '.join(inside[:4])}" if inside else ""),
            f"name the file: --decoder {shlex.quote(str(path / inside[0])) if inside else 'FILE'}",
        )
    try:
        model = ir.load(path)
    except OSError as error:
        raise DecoderFileError(f"cannot read {path}: {error.strerror}", "name another") from error
    except Exception as error:  # protobuf's own types, and those of what is in it
        raise DecoderFileError(
            f"{path} is no ONNX model: {one_line(error)}", "export or copy it again"
        ) from error
    if not model.opset_imports and not len(model.graph):  # most bytes are some protobuf message
        raise DecoderFileError(f"{path} is no ONNX model", "export or copy it again")
    return model


def _name_additive_mask(graph: ir.Graph) -> None:
    """Call a mask of four axes what it is: HF's models take an additive one as it is."""
    for value in graph.inputs:
        if value.name == "attention_mask" and value.shape is not None and len(value.shape) == 4:
            value.name = "attention_bias"


def _raised(model: ir.Model, path: Path) -> ir.Model:
    """The model in the search's opset, or a later one of its own.

    Source: ``onnxscript.version_converter``, below opset 18 ``onnx.version_converter``.
    """
    if "ai.onnx" in model.opset_imports:
        model.opset_imports[""] = model.opset_imports.pop("ai.onnx")
        for node in model.graph:
            node.domain = "" if node.domain == "ai.onnx" else node.domain
    before = model.opset_imports[""]
    if before >= _OPSET:
        return model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = ConvertVersionPass(_OPSET, fallback=True)(model).model
        except Exception as error:  # of onnx, which has many
            raise _not_raised(path, before, one_line(error)) from error
    if model.opset_imports[""] != _OPSET:  # it only logs that it failed
        raise _not_raised(path, before, "onnx has no conversion")
    return model


def _not_raised(path: Path, before: int, reason: str) -> DecoderFileError:
    return DecoderFileError(
        f"{path} is of opset {before}, which cannot be raised to {_OPSET}: {reason}",
        "export it with opset 18 or later",
    )


def _only_what_is_asked(graph: ir.Graph, wanted: Face) -> None:
    """Drop outputs that nobody reads, and inputs that have a default."""
    outputs = {value.name or "": value for value in graph.outputs}
    graph.outputs[:] = [outputs[name] for name in wanted.outputs]
    graph.inputs[:] = [value for value in graph.inputs if value.name in wanted.inputs]


def _clean(model: ir.Model) -> None:
    """Store each weight once where its product reads it, and drop the rest."""
    passes.IdentityEliminationPass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    place_weights(model)
    _drop_unread(model.graph)
    passes.DeduplicateInitializersPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    for value in list(model.graph.initializers.values()):
        value.name = f"file.{value.name}"  # the search has names of its own


def _drop_unread(graph: ir.Graph) -> None:
    """Remove nodes and weights that nothing reads; optional outputs of others stay."""
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for value in list(graph.initializers.values()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[value.name or ""]
