"""The whole flow, readable: a checkpoint becomes a package that was proved."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen import contrib_op
from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint import Checkpoint, demo_checkpoint, open_checkpoint
from beamgen.errors import (
    AdapterError,
    CheckpointError,
    MissingExtraError,
    SettingError,
    close_matches,
)
from beamgen.package import (
    BACKENDS,
    MODEL,
    WEIGHTS,
    Manifest,
    Package,
    check_target,
    new_package_folder,
    open_package,
    stamp_parity,
    write_manifest,
)
from beamgen.parameters import PARAMETERS, Parameter
from beamgen.registry import find_adapter
from beamgen.search_config import SearchConfig
from beamgen.setting_checks import check_penalty, named_ids

if TYPE_CHECKING:
    import onnx_ir as ir

    from beamgen.parity import ParityReport

#: Above this many bytes of weights they go into ``model.onnx.data``: one protobuf
#: message holds at most 2 GiB.
EXTERNAL_DATA_BYTES = 2_000_000_000

_VERSIONED = ("beamgen", "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnx-ir",
              "onnxscript", "onnxruntime")  # fmt: skip

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ExportResult:
    """What ``export`` made.

    Attributes:
        package: the finished package.
        checkpoint: what it was made from.
        adapter: the architecture's.
        parity: the report, or None where the check was left out.
    """

    package: Package
    checkpoint: Checkpoint
    adapter: DecoderAdapter
    parity: ParityReport | None


def export(
    model: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    model_class: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    force: bool = False,
    parity: bool = True,
    settings: Mapping[str, Any] | None = None,
    backend: str = "loop",
    required: Collection[str] = (),
    progress: Progress | None = None,
) -> ExportResult:
    """Turn a checkpoint into a package, and compare it with HF ``generate``.

    Args:
        model: checkpoint folder or hub id; None takes the demo checkpoint of
            ``model_class``.
        output: the package folder to write; None names it after the checkpoint,
            e.g. ``biogpt-onnx``.
        model_class: HF class name, adapter name or ``model_type``.
        revision: of a hub id.
        trust_remote_code: run Python code that comes with the checkpoint.
        force: replace an existing package, in one rename.
        parity: end with the quick parity grid.
        settings: defaults of the search parameters, under HF's names.
        backend: ``loop``, HF's search; or ``contrib``, ONNX Runtime's own operators
            (see docs/contrib-op.md).
        required: parameters that get no default in the file and have to be fed, or
            ``["all"]``: onnxruntime-node, -web and Java see no input that has one.
        progress: called with one line as each stage begins.

    Returns:
        The package, and its parity report. A diverged verdict does not raise:
        the package is there to be looked into.

    Raises:
        AdapterError, CheckpointError, SettingError, PackageError,
        MissingExtraError: with nothing written.
    """
    say = progress or (lambda line: None)
    checkpoint, adapter = resolve(
        model, model_class, revision=revision, trust_remote_code=trust_remote_code
    )
    target = Path(output if output is not None else f"{checkpoint.name}-onnx")
    check_target(target, force=force)
    search = SearchConfig.from_generation_config(
        checkpoint.generation_config, settings, checkpoint.generation_fields
    )
    parameters = _parameters(backend, search, checkpoint)
    required = _required(required, parameters)
    _check_ids(search, checkpoint)
    _check_lengths(search, adapter.position_limits(checkpoint.config).max_positions)
    with new_package_folder(target, force=force) as folder:
        say(f"tracing {checkpoint.source} ({adapter.name}, {checkpoint.dtype}) in float32")
        with tempfile.TemporaryDirectory(prefix=".decoder-", dir=folder) as scratch:
            graph = build_graph(
                checkpoint, adapter, search, Path(scratch), backend=backend, required=required
            )
            say("writing the search graph")
            save_graph(graph, folder)
        _copy_companions(checkpoint, folder)
        write_manifest(folder, _manifest(checkpoint, adapter, search, backend, parameters, graph))
        package = open_package(folder, verify=False)
        report = None
        if parity:
            report = _check(package, checkpoint, say)
            package = stamp_parity(package, report.to_json())
    return ExportResult(open_package(target, verify=False), checkpoint, adapter, report)


def resolve(
    model: str | os.PathLike[str] | None,
    model_class: str | None,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[Checkpoint, DecoderAdapter]:
    """The checkpoint and its adapter, from what a user named.

    Raises:
        AdapterError, CheckpointError: see ``find_adapter``, ``open_checkpoint``.
    """
    if model is not None:
        checkpoint = open_checkpoint(model, revision=revision, trust_remote_code=trust_remote_code)
        return checkpoint, checkpoint.adapter(model_class)
    if model_class is None:
        raise AdapterError(
            "neither a checkpoint nor a model class was named",
            "pass --model FOLDER_OR_HUB_ID, or --model-class NAME for its demo checkpoint",
        )
    adapter = find_adapter(model_class)
    return demo_checkpoint(adapter), adapter


def open_source(
    package: Package, checkpoint: str | None = None, *, trust_remote_code: bool = False
) -> Checkpoint:
    """The checkpoint a package was exported from, or another one named instead.

    Raises:
        CheckpointError: it is not where it was.
    """
    if checkpoint is not None:
        other = open_checkpoint(checkpoint, trust_remote_code=trust_remote_code)
        _check_comparable(package, other)
        return other
    source = package.manifest.source
    if source["kind"] == "demo":
        return demo_checkpoint(find_adapter(source["model"]))
    if source["kind"] == "folder" and not Path(source["model"]).is_dir():
        raise CheckpointError(
            f"the checkpoint is no longer at {source['model']}", "name it with --checkpoint"
        )
    try:
        return open_checkpoint(
            source["model"], revision=source["revision"], trust_remote_code=trust_remote_code
        )
    except CheckpointError as error:
        raise CheckpointError(error.cause, "name it with --checkpoint") from error


def _check_comparable(package: Package, checkpoint: Checkpoint) -> None:
    manifest = package.manifest
    adapter = checkpoint.adapter().name
    vocab_size = _vocab_size(checkpoint)
    if (adapter, vocab_size) != (manifest.adapter, manifest.vocab_size):
        raise CheckpointError(
            f"{checkpoint.source} is a {adapter} of {vocab_size} tokens, but the package was "
            f"made of a {manifest.adapter} of {manifest.vocab_size}",
            "name the checkpoint that the package was exported from",
        )


def build_graph(
    checkpoint: Checkpoint,
    adapter: DecoderAdapter,
    search: SearchConfig,
    scratch: Path,
    *,
    backend: str = "loop",
    required: Collection[str] = (),
) -> ir.Model:
    """Checkpoint -> decoder -> search graph; large weights stay in files in ``scratch``."""
    try:
        from beamgen.decoder.contrib_step import ContribStep
        from beamgen.decoder.export import export_decoder
        from beamgen.decoder.loop_step import LoopStep
        from beamgen.search.contrib import build_contrib
        from beamgen.search.loop import build_loop
    except ImportError as error:
        raise MissingExtraError("beamgen export", "export", error.name or "torch") from error
    model = checkpoint.load_model()
    step = ContribStep if backend == "contrib" else LoopStep
    decoder = export_decoder(adapter, model, scratch, step)
    del model
    gc.collect()
    geometry = adapter.kv_geometry(checkpoint.config)
    window = adapter.position_limits(checkpoint.config).attention_window
    about = {
        "beamgen.version": metadata.version("beamgen"),
        "beamgen.adapter": adapter.name,
        "beamgen.backend": backend,
    }
    if backend == "contrib":
        return build_contrib(
            decoder, geometry, search, _vocab_size(checkpoint), window, required, about
        )
    return build_loop(decoder, geometry, search, window, required, about)


def save_graph(graph: ir.Model, folder: Path) -> None:
    """Write ``model.onnx``, with ``model.onnx.data`` beside it where it would not fit."""
    import onnx_ir as ir

    size = sum(
        value.const_value.nbytes
        for value in graph.graph.initializers.values()
        if value.const_value is not None
    )
    external = WEIGHTS if size > EXTERNAL_DATA_BYTES else None
    ir.save(graph, folder / MODEL, external_data=external)


def _check(package: Package, checkpoint: Checkpoint, say: Progress) -> ParityReport:
    from beamgen.parity import check_parity

    def progress(phase: str, done: int, total: int) -> None:
        say(f"parity: {phase}, case {done + 1} of {total}")

    return check_parity(package, checkpoint, progress=progress)


def _check_ids(search: SearchConfig, checkpoint: Checkpoint) -> None:
    if search.catalogue is not None:
        raise SettingError(
            "a catalogue is not built into a file", "give it when generating: --catalogue FILE"
        )
    vocab_size = _vocab_size(checkpoint)
    for name, ids in named_ids(search).items():
        outside = [token for token in ids if token >= vocab_size]
        if outside:
            raise SettingError(
                f"{name} {outside[0]} is outside the vocabulary of {vocab_size}",
                f"set {name} to ids of the checkpoint's tokenizer",
            )


def _check_lengths(search: SearchConfig, max_positions: int) -> None:
    """Refuse defaults with which no prompt could be searched, be it one token long."""
    name, room = "max_new_tokens", max_positions - 1
    if search.max_new_tokens is None:  # only then does max_length count
        name, room = "max_length", max_positions
    value = getattr(search, name)
    if value is not None and value > room:
        raise SettingError(
            f"{name} {value} is more than the model's {max_positions} positions hold",
            f"set --{name.replace('_', '-')} {room} or less",
        )


def _parameters(
    backend: str, search: SearchConfig, checkpoint: Checkpoint
) -> tuple[Parameter, ...]:
    """What the file will take besides the prompts, where its backend can search so."""
    if backend not in BACKENDS:
        raise SettingError(
            f"there is no backend called '{backend}'",
            close_matches(str(backend), BACKENDS) or f"there are {' and '.join(BACKENDS)}",
        )
    if backend == "loop":
        return PARAMETERS
    contrib_op.check_honoured(search)
    check_penalty(search, 1 + (search.for_prompt(1).max_new_tokens or 0))
    return contrib_op.parameters(contrib_op.op_type(search), _vocab_size(checkpoint))


def _vocab_size(checkpoint: Checkpoint) -> int:
    size: int = checkpoint.config.get_text_config().vocab_size
    return size


def _required(names: Collection[str], parameters: Sequence[Parameter]) -> frozenset[str]:
    known = [parameter.name for parameter in parameters]
    if "all" in names:
        return frozenset(known)
    for name in names:
        if name not in known:
            raise SettingError(
                f"the file has no parameter called '{name}'",
                close_matches(name, known) or f"there are {', '.join(known)}, and all",
            )
    return frozenset(names)


def _copy_companions(checkpoint: Checkpoint, folder: Path) -> None:
    """The configs and the tokenizer, so that the package needs nothing else."""
    checkpoint.config.save_pretrained(folder)
    # save_pretrained would refuse a temperature without do_sample, which many have
    checkpoint.generation_config.to_json_file(folder / "generation_config.json")
    if checkpoint.has_tokenizer:
        for path in sorted(checkpoint.folder.iterdir()):
            if _is_companion(path):
                shutil.copyfile(path, folder / path.name)


def _is_companion(path: Path) -> bool:
    """Tokenizer files of any kind, chat templates, licences; no weights, no configs."""
    ours = {"config.json", "generation_config.json"}
    weights = path.name.endswith(".index.json")
    kinds = {".json", ".txt", ".model", ".jinja"}
    licence = path.name.upper().startswith("LICEN")
    return (
        path.is_file()
        and path.name not in ours
        and not weights
        and (path.suffix in kinds or licence)
    )


def _manifest(
    checkpoint: Checkpoint,
    adapter: DecoderAdapter,
    search: SearchConfig,
    backend: str,
    parameters: Sequence[Parameter],
    graph: ir.Model,
) -> Manifest:
    meanings = {parameter.name: parameter.meaning for parameter in parameters}
    return Manifest(
        adapter=adapter.name,
        backend=backend,
        source={
            **checkpoint.origin,
            "revision": checkpoint.revision,
            "dtype": checkpoint.dtype,
        },
        dtype="float32",
        vocab_size=_vocab_size(checkpoint),
        limits=adapter.position_limits(checkpoint.config),
        search=search,
        inputs=[
            {
                **_row(value),
                "meaning": meanings.get(value.name or "", value.doc_string),
                "default": _default(value),
            }
            for value in graph.graph.inputs
        ],
        outputs=[_row(value) for value in graph.graph.outputs],
        versions={name: metadata.version(name) for name in _VERSIONED},
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
