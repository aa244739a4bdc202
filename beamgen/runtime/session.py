"""ONNX Runtime sessions: over a package's graph, or over one that was changed in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.errors import PackageError, one_line
from beamgen.package.folder import Package
from beamgen.package.folders import check_name
from beamgen.runtime.memory import ran_out

if TYPE_CHECKING:
    import onnx_ir as ir
    import onnxruntime


def run(
    session: onnxruntime.InferenceSession, names: Sequence[str] | None, feeds: Mapping[str, Any]
) -> list[Any]:
    """The outputs of these names, or all.

    Raises:
        PromptError: memory ran out.
    """
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4  # what it would log it raises, too
    try:
        found: list[Any] = session.run(names, feeds, options)
    except Exception as error:  # ONNX Runtime raises types of its own
        raise ran_out(error) or error from None
    return found


def load_session(
    package: Package, providers: Sequence[str], threads: int | None = None
) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session over the package's graph.

    Raises:
        PackageError: an unknown provider, one whose libraries do not load, a folder that ONNX
            Runtime cannot name, or it refuses the file.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    unknown = [provider for provider in providers if provider not in available]
    if unknown:
        raise PackageError(
            f"this ONNX Runtime has no {', '.join(unknown)}; it has {', '.join(available)}",
            "pip install 'beamgen[cuda]' for CUDAExecutionProvider",
        )
    check_name(package.folder)
    options = onnxruntime.SessionOptions()
    # Level 2 warns of every parameter that has a default, which is how it should be.
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(package.model), options, providers=list(providers)
        )
    except Exception as error:  # ONNX Runtime raises types of its own
        if ran_out(error):
            size = package.model.stat().st_size
            raise PackageError(
                f"there is too little memory to load {package.model}, a file of {size:,} bytes",
                "free some, or export with --external-data or --precision int8",
            ) from error
        raise PackageError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {package.model}: "
            f"{one_line(error)}",
            "the file needs opset 23: pip install --upgrade onnxruntime",
        ) from error
    left_out = [name for name in providers if name not in session.get_providers()]
    if left_out:  # ONNX Runtime says so in its log alone, and takes the next one
        raise PackageError(
            f"ONNX Runtime left out {', '.join(left_out)}: its libraries do not load",
            "install them (for CUDA, see docs/cuda.md), or leave it out",
        )
    taken = {i.name for i in [*session.get_inputs(), *session.get_overridable_initializers()]}
    manifest = package.manifest
    slots = {name for slot in manifest.lora_slots for name in slot.inputs}
    if taken != {row["name"] for row in manifest.inputs} | slots:
        raise PackageError(
            f"{package.model} and beamgen.json do not belong together: their inputs differ",
            "export the checkpoint again",
        )
    return session


def session_of(model: ir.Model, folder: Path) -> Any:
    """A session over a graph whose external data, if any, lies in ``folder``."""
    import onnx_ir as ir
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(folder)
    )
    return onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
