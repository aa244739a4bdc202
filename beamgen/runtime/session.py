"""ONNX Runtime sessions: over a package's graph, or over one that was changed in memory."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from beamgen.errors import PackageError, one_line
from beamgen.package.folder import MODEL, WEIGHTS, Package
from beamgen.package.folders import check_name
from beamgen.runtime.cores import Moment, contended, seen
from beamgen.runtime.machine import available_cores
from beamgen.runtime.mapped import pages_let_go
from beamgen.runtime.memory import ran_out

if TYPE_CHECKING:
    import onnx_ir as ir
    import onnxruntime

#: Sessions that somebody still holds, by the files, the providers and the threads they have.
_OPEN: WeakValueDictionary[Hashable, onnxruntime.InferenceSession] = WeakValueDictionary()
_OPENING = threading.Lock()

#: Microseconds for which a thread waits spinning, where it takes the core from others.
_SHORT_SPIN = "10"

#: Below so many bytes of weights a search is over before it can be seen who else computes.
_LARGE_BYTES = 20_000_000


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


def shared_session(
    package: Package,
    providers: Sequence[str],
    threads: int | None = None,
    since: Moment | None = None,
) -> onnxruntime.InferenceSession:
    """As ``load_session``, or the session of another caller who still holds it.

    ONNX Runtime packs weights for each session anew, and threads of several wait for each other.
    A session may run in several threads of Python at once. Files that were replaced meanwhile are
    others.

    Raises:
        PackageError: see ``load_session``.
    """
    files = [path for path in (package.model, package.folder / WEIGHTS) if path.exists()]
    about = [(str(path.resolve()), *_version(path.stat())) for path in files]
    key = (*about, *providers, threads)
    with _OPENING:
        session = _OPEN.get(key)
        if session is None:
            session = _OPEN[key] = load_session(package, providers, threads, since)
    return session


def load_session(
    package: Package,
    providers: Sequence[str],
    threads: int | None = None,
    since: Moment | None = None,
) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session over the package's graph.

    Its threads spin only shortly where other processes keep the cores busy.

    Args:
        package: whose graph it is.
        providers: ONNX Runtime execution providers.
        threads: for one operator; by default one per core that this process may use.
        since: when the look at the other processes began; None is now.

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
    options = _options(package, threads, since)
    weights = package.folder / WEIGHTS
    try:
        with pages_let_go(weights):
            session = onnxruntime.InferenceSession(
                str(package.model), options, providers=list(providers)
            )
    except Exception as error:  # ONNX Runtime raises types of its own
        if ran_out(error):
            raise PackageError(
                f"there is too little memory to load {package.folder}, {_size(package):,} bytes",
                "free some, or export with --precision int8"
                if weights.exists()
                else "free some, or export with --external-data or --precision int8",
            ) from error
        if _is_linked(weights):
            raise PackageError(
                f"{weights} is a link, or has a second name, and ONNX Runtime reads weights from "
                "a file of its own only",
                f"take a copy of the folder: cp -rL {shlex.quote(str(package.folder))} COPY",
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


def _options(
    package: Package, threads: int | None, since: Moment | None
) -> onnxruntime.SessionOptions:
    """As many threads as this process has cores, which spin only where they have them alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Level 2 warns of every parameter that has a default, which is how it should be.
    options.log_severity_level = 3
    if threads is None and available_cores() < (os.cpu_count() or 1):
        threads = available_cores()  # ONNX Runtime sees the machine's, not a container's share
    if threads is not None:
        options.intra_op_num_threads = threads
    is_large = _size(package) > _LARGE_BYTES
    if is_large and contended(threads or available_cores(), since or seen()):
        options.add_session_config_entry("session.intra_op.spin_duration_us", _SHORT_SPIN)
    return options


def _size(package: Package) -> int:
    """Bytes of the graph and its weights."""
    files = package.manifest.files
    size: int = sum(files[name]["bytes"] for name in (MODEL, WEIGHTS) if name in files)
    return size


def _version(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _is_linked(file: Path) -> bool:
    return file.is_symlink() or (file.exists() and file.stat().st_nlink > 1)


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
