"""Look into a package, or into any .onnx file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.disk import local
from beamgen.errors import PackageError, one_line
from beamgen.formats.text import extensions
from beamgen.inspect.contents import external_data_of, functions_of, operators_of, weights_of
from beamgen.inspect.description import Description
from beamgen.inspect.ports import inputs_of, outputs_of
from beamgen.inspect.proof import proof_of
from beamgen.inspect.providers import runtime_version, try_providers
from beamgen.lora.slots import A, B
from beamgen.package import embedded
from beamgen.package.folder import MANIFEST, MODEL, open_package
from beamgen.quantization.record import Precision
from beamgen.quantization.saturation import inexact

if TYPE_CHECKING:
    import onnx

    from beamgen.package.folder import Package


def describe(path: str | os.PathLike[str], *, providers: bool = True) -> Description:
    """Look into a package, or into any ``.onnx`` file.

    Args:
        path: a package folder or an ``.onnx`` file, be it beamgen's or not.
        providers: load it with each execution provider that is installed.

    Raises:
        PackageError: there is no such file, or it is no ONNX model.
    """
    file, package, changed = _find(local(path))
    model = _read(file)
    graph = model.graph
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    try:
        provenance, parity = embedded.read(metadata)
    except ValueError as error:
        raise PackageError(
            f"{file} carries damaged metadata: {one_line(error)}", "export the checkpoint again"
        ) from error
    inputs = inputs_of(graph)
    slots = [port for port in inputs if port.name.endswith((f".{A}", f".{B}"))]
    found = package.manifest.parity if package is not None else parity
    external = external_data_of(model, file.parent)
    operators = operators_of(model)
    return Description(
        file=file,
        bytes=file.stat().st_size + sum(size or 0 for size in external.values()),
        external_data=external,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=model.ir_version,
        opsets={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        inputs=[port for port in inputs if port not in slots],
        lora_slots=len(slots) // 2,
        outputs=outputs_of(graph),
        functions=functions_of(model),
        operators=operators,
        weights=weights_of(model),
        format=metadata.get(embedded.FORMAT),
        provenance=provenance,
        parity=found,
        proof=None if provenance is None else proof_of(provenance, found),
        inexact=None if provenance is None else inexact(_multiplied(provenance)),
        changed=changed,
        loras=list(package.loras) if package is not None else [],
        runtime=runtime_version() if providers else None,
        providers=try_providers(file, extensions.DOMAIN in operators) if providers else [],
    )


def _multiplied(provenance: Mapping[str, Any]) -> str:
    return Precision.from_json(provenance["precision"]).multiplied


def _find(path: Path) -> tuple[Path, Package | None, str | None]:
    """The model file; its package, if it lies in one; and what is wrong with that."""
    file = path
    if path.is_dir():  # in a model repository of Triton's, versions are folders
        file = path / MODEL if (path / MODEL).is_file() else path / "1" / MODEL
    if not file.is_file():
        found = f"{path} holds no {MODEL}" if path.is_dir() else f"there is no {path}"
        raise PackageError(found, "name a package folder, or a file that ends in .onnx")
    if not (file.parent / MANIFEST).is_file() or file.name != MODEL:
        return file, None, None
    try:
        return file, open_package(file.parent), None
    except PackageError as error:
        with contextlib.suppress(PackageError):
            return file, open_package(file.parent, verify=False), error.cause
        return file, None, error.cause


def _read(file: Path) -> onnx.ModelProto:
    import onnx

    try:
        model = onnx.load(file, load_external_data=False)
    except Exception as error:  # protobuf's and onnx's own types
        raise PackageError(
            f"{file} is no ONNX model: {one_line(error)}", "export or copy it again"
        ) from error
    if not model.opset_import:  # nearly any bytes are some protobuf message
        raise PackageError(f"{file} is no ONNX model", "export or copy it again")
    if not _is_text(model):
        raise PackageError(f"{file} is damaged: a name in it is no text", "export or copy it again")
    return model


def _is_text(message: Any) -> bool:
    """Whether all strings of a protobuf message are UTF-8; its reader gives bytes for others."""
    for field, value in message.ListFields():
        one = isinstance(value, str | bytes) or not isinstance(value, Sequence)
        each = [value] if one else value
        if field.type == field.TYPE_STRING and not all(isinstance(text, str) for text in each):
            return False
        if field.type == field.TYPE_MESSAGE and not all(map(_is_text, each)):
            return False
    return True
