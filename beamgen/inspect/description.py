"""What is in a file: inputs, functions, operators, sizes, provenance, and who can run it."""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.errors import MissingExtraError, PackageError, one_line
from beamgen.formats.text import extensions
from beamgen.lora.slots import A, B
from beamgen.package import embedded
from beamgen.package.folder import MANIFEST, MODEL, open_package
from beamgen.quantization.saturation import inexact

if TYPE_CHECKING:
    import onnx

    from beamgen.package.folder import Package

#: A default of more elements is told by its size.
_SHOWN_ELEMENTS = 8


@dataclass(frozen=True)
class Port:
    """An input or output.

    Attributes:
        name: in the graph.
        dtype: e.g. ``int64``.
        shape: sizes, and names of dynamic axes; None where even the rank is unknown.
        meaning: one line, or ``""`` where the file says nothing.
        required: an input that has no default.
        default: as a nested list; a string tells the size of a large one.
    """

    name: str
    dtype: str
    shape: list[int | str | None] | None
    meaning: str
    required: bool = False
    default: Any = None


@dataclass(frozen=True)
class Function:
    """A model-local function.

    Attributes:
        name: ``domain::name``.
        nodes: in its body, subgraphs included.
        meaning: the first line of its doc string.
    """

    name: str
    nodes: int
    meaning: str


@dataclass(frozen=True)
class Provider:
    """An execution provider of the ONNX Runtime that is installed.

    Attributes:
        name: e.g. ``CPUExecutionProvider``.
        loads: whether it takes the file, with the CPU for what it leaves.
        nodes: how many nodes of the optimized graph it runs itself, by ONNX Runtime's
            account; None where the file does not load.
        all_nodes: how many there are.
        reason: why it does not load.
    """

    name: str
    loads: bool
    nodes: int | None = None
    all_nodes: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Description:
    """What ``describe`` found.

    Attributes:
        file: the ``.onnx`` file.
        bytes: of it and of its external data.
        external_data: names of its external data files and their bytes, None where missing.
        producer: name and version, as the file tells.
        ir_version: of ONNX.
        opsets: version by domain; ONNX's own domain is ``ai.onnx``.
        inputs: prompts and parameters; those of LoRA slots are counted only.
        lora_slots: linear layers that take a LoRA.
        outputs: in order.
        functions: the model-local ones.
        operators: nodes by domain and operator, in the graph, its subgraphs and the
            bodies of its functions.
        weights: bytes of all tensors that are stored, by dtype.
        format: for which program the graph was rewritten, or None: it is a package's own.
        provenance: fields of the manifest that the file carries, or None: not beamgen's.
        parity: the package's last verdict, or that of its export; None if there is none.
        inexact: why this CPU answers otherwise than the one that proved the file; or None.
        changed: what is wrong with the package's files, against their hashes.
        loras: names of the LoRAs in the package.
        runtime: the version of ONNX Runtime that ``providers`` speaks of.
        providers: empty where they were not asked for.
    """

    file: Path
    bytes: int
    external_data: dict[str, int | None]
    producer: str
    ir_version: int
    opsets: dict[str, int]
    inputs: list[Port]
    lora_slots: int
    outputs: list[Port]
    functions: list[Function]
    operators: dict[str, dict[str, int]]
    weights: dict[str, int]
    format: str | None
    provenance: dict[str, Any] | None
    parity: dict[str, Any] | None
    inexact: str | None
    changed: str | None
    loras: list[str]
    runtime: str | None
    providers: list[Provider]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "file": str(self.file)}


def describe(path: str | os.PathLike[str], *, providers: bool = True) -> Description:
    """Look into a package, or into any ``.onnx`` file.

    Args:
        path: a package folder or an ``.onnx`` file, be it beamgen's or not.
        providers: load it with each execution provider that is installed.

    Raises:
        PackageError: there is no such file, or it is no ONNX model.
    """
    file, package, changed = _find(Path(path))
    model = _read(file)
    graph = model.graph
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    try:
        provenance, parity = embedded.read(metadata)
    except ValueError as error:
        raise PackageError(
            f"{file} carries damaged metadata: {one_line(error)}", "export the checkpoint again"
        ) from error
    defaults = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [_port(value, defaults, is_input=True) for value in graph.input]
    slots = [port for port in inputs if port.name.endswith((f".{A}", f".{B}"))]
    external = _external_data(model, file.parent)
    operators = _operators(model)
    return Description(
        file=file,
        bytes=file.stat().st_size + sum(size or 0 for size in external.values()),
        external_data=external,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=model.ir_version,
        opsets={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        inputs=[port for port in inputs if port not in slots],
        lora_slots=len(slots) // 2,
        outputs=[_port(value, {}) for value in graph.output],
        functions=[
            Function(
                f"{function.domain}::{function.name}",
                sum(1 for _ in _nodes(function.node)),
                function.doc_string.strip().partition("\n")[0],
            )
            for function in model.functions
        ],
        operators=operators,
        weights=_weights(model),
        format=metadata.get(embedded.FORMAT),
        provenance=provenance,
        parity=package.manifest.parity if package is not None else parity,
        inexact=None if provenance is None else inexact(provenance["precision"]["weights"]),
        changed=changed,
        loras=list(package.loras) if package is not None else [],
        runtime=_runtime_version() if providers else None,
        providers=_providers(file, extensions.DOMAIN in operators) if providers else [],
    )


def _find(path: Path) -> tuple[Path, Package | None, str | None]:
    """The model file; its package, if it lies in one; and what is wrong with that."""
    file = path
    if path.is_dir():  # in a model repository of Triton's, versions are folders
        file = path / MODEL if (path / MODEL).is_file() else path / "1" / MODEL
    if not file.is_file():
        raise PackageError(
            f"there is no {file}", "name a package folder, or a file that ends in .onnx"
        )
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
    return model


def _port(
    value: onnx.ValueInfoProto, defaults: Mapping[str, onnx.TensorProto], *, is_input: bool = False
) -> Port:
    kind = value.type.tensor_type
    default = defaults.get(value.name)
    return Port(
        name=value.name,
        dtype=_dtype(kind.elem_type),
        shape=[
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
            for dim in kind.shape.dim
        ]
        if kind.HasField("shape")
        else None,
        meaning=value.doc_string,
        required=is_input and default is None,
        default=None if default is None else _default(default),
    )


def _default(tensor: onnx.TensorProto) -> Any:
    from onnx import numpy_helper

    if math.prod(tensor.dims) > _SHOWN_ELEMENTS or tensor.external_data:
        return f"{' x '.join(map(str, tensor.dims))} values"
    try:
        return numpy_helper.to_array(tensor).tolist()
    except Exception:  # too few bytes, an unknown type, no UTF-8: each fails in its own way
        return "damaged"


def _dtype(number: int) -> str:
    import onnx

    if number not in onnx.TensorProto.DataType.values():
        return f"unknown type {number}"
    name: str = onnx.TensorProto.DataType.Name(number).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _nodes(graph.node)


def _operators(model: onnx.ModelProto) -> dict[str, dict[str, int]]:
    """Calls of model-local functions are counted under their own domain."""
    found: dict[str, Counter[str]] = {}
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    for node in (node for body in bodies for node in _nodes(body)):
        found.setdefault(node.domain or "ai.onnx", Counter())[node.op_type] += 1
    return {domain: dict(found[domain].most_common()) for domain in sorted(found)}


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """What is stored: initializers, dense and sparse, of all graphs, and constants."""
    yield from _initializers(model.graph)
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    for node in (node for body in bodies for node in _nodes(body)):
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for graph in [attribute.g, *attribute.graphs]:
                yield from _initializers(graph)


def _initializers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _weights(model: onnx.ModelProto) -> dict[str, int]:
    """Bytes by dtype; four-bit numbers are packed in pairs."""
    import onnx

    sizes: Counter[str] = Counter()
    for tensor in _tensors(model):
        name, count = _dtype(tensor.data_type), max(math.prod(tensor.dims), 0)
        if name.startswith("unknown") or tensor.data_type == onnx.TensorProto.UNDEFINED:
            sizes[name] += len(tensor.raw_data)
        elif tensor.data_type == onnx.TensorProto.STRING:
            sizes[name] += sum(map(len, tensor.string_data))
        else:
            bits = 4 if name.endswith("int4") else _bits(tensor.data_type)
            sizes[name] += -(-count * bits // 8)
    return dict(sizes.most_common())


def _bits(number: int) -> int:
    import onnx

    return int(onnx.helper.tensor_dtype_to_np_dtype(number).itemsize) * 8


def _external_data(model: onnx.ModelProto, folder: Path) -> dict[str, int | None]:
    names = {
        entry.value
        for tensor in _tensors(model)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    found: dict[str, int | None] = {}
    for name in sorted(names):
        found[name] = None
        with contextlib.suppress(OSError, ValueError):  # missing, or no name that a file can have
            found[name] = (folder / name).stat().st_size
    return found


def _runtime_version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


def _providers(file: Path, extended: bool) -> list[Provider]:
    import onnxruntime

    return [_provider(file, name, extended) for name in onnxruntime.get_available_providers()]


def _provider(file: Path, name: str, extended: bool) -> Provider:
    """Load the file with it; what it leaves, the CPU takes.

    A file with operators of onnxruntime-extensions is ``extended``.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        if extended:
            extensions.register(options)
        session = onnxruntime.InferenceSession(
            str(file), options, providers=list(dict.fromkeys([name, "CPUExecutionProvider"]))
        )
    except MissingExtraError as error:
        return Provider(name, False, reason=f"{error.cause}: {error.cure}")
    except Exception as error:  # ONNX Runtime raises types of its own
        return Provider(name, False, reason=one_line(error))
    if name not in session.get_providers():
        return Provider(name, False, reason="ONNX Runtime left it out: its libraries do not load")
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return Provider(name, True, counts[name], counts.total())
