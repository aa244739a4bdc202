"""The whole flow, readable: a checkpoint becomes a package that was proved."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen import contrib_op, embedded
from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint import Checkpoint
from beamgen.errors import LoraError, MissingExtraError, SettingError, close_matches
from beamgen.lora.convert import add_adapter
from beamgen.lora.fit import check_fits
from beamgen.lora.peft_folder import read_peft
from beamgen.lora.peft_model import check_peft_fits
from beamgen.lora.slots import Lora, Slot, leaf
from beamgen.lora.source import find_peft, lora_name, origin
from beamgen.lora.targets import ALL_LINEAR, check_layers, find_slots
from beamgen.manifest import BACKENDS, manifest_of
from beamgen.package import (
    MODEL,
    WEIGHTS,
    Package,
    check_target,
    new_package_folder,
    open_package,
    seal_parity,
    write_manifest,
)
from beamgen.parameters import PARAMETERS, Parameter
from beamgen.proof import Progress, prove
from beamgen.quantization.precision import Precision, Wanted
from beamgen.quantization.quality import measured
from beamgen.quantization.saturation import check_exact, inexact
from beamgen.quantization.texts import Texts, texts_of
from beamgen.search_config import SearchConfig
from beamgen.setting_checks import check_penalty, named_ids
from beamgen.sources import resolve

if TYPE_CHECKING:
    import onnx_ir as ir

    from beamgen.parity import ParityReport

#: Above this many bytes of weights they go into ``model.onnx.data``: one protobuf
#: message holds at most 2 GiB.
EXTERNAL_DATA_BYTES = 2_000_000_000


@dataclass(frozen=True)
class ExportResult:
    """What ``export`` made.

    Attributes:
        package: the finished package.
        checkpoint: what it was made from.
        adapter: the architecture's.
        parity: the report, or None where the check was left out.
        lora_parity: a report with each LoRA in the package's slots.
    """

    package: Package
    checkpoint: Checkpoint
    adapter: DecoderAdapter
    parity: ParityReport | None
    lora_parity: Mapping[str, ParityReport] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 where all agree, or nothing was compared."""
        reports = [*([self.parity] if self.parity else []), *self.lora_parity.values()]
        return max((report.exit_code for report in reports), default=0)


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
    precision: str = "fp32",
    int8_weights: str = "auto",
    quality_text: str | os.PathLike[str] | None = None,
    required: Collection[str] = (),
    lora: Sequence[str | os.PathLike[str]] = (),
    lora_slots: Sequence[str] | None = None,
    external_data: bool = False,
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
        precision: ``fp32``, or weights in fewer bits: ``fp16``, ``int8``, ``int4`` (see
            docs/quantization.md).
        int8_weights: ``auto`` stores them as this CPU adds them exactly; ``s8`` or ``u8``.
        quality_text: a file of texts, one a line, on which the loss of quality is
            measured; by default that of a demo checkpoint, if it is one.
        required: parameters that get no default in the file and have to be fed, or
            ``["all"]``: onnxruntime-node, -web and Java see no input that has one.
            ``lora`` stands for the slots, which ``all`` leaves alone.
        lora: PEFT folders or hub ids. Without slots there may be one, which is merged
            into the weights; with slots they are converted into ``adapters/``.
        lora_slots: layers whose LoRA stays an input, as peft's ``target_modules`` names
            them; ``["all-linear"]`` are all but the output head, ``[]`` those that
            ``lora`` needs, or else all. None merges.
        external_data: put the weights into ``model.onnx.data``, which ONNX Runtime maps
            instead of reading: half the memory. Above 2 GB that is always so.
        progress: called with one line as each stage begins.

    Returns:
        The package, and its parity reports. A diverged verdict does not raise:
        the package is there to be looked into.

    Raises:
        AdapterError, CheckpointError, SettingError, LoraError, PackageError,
        MissingExtraError: with nothing written.
    """
    say = progress or (lambda line: None)
    wanted = Wanted(precision, int8_weights, None if quality_text is None else Path(quality_text))
    checkpoint, adapter = resolve(
        model, model_class, revision=revision, trust_remote_code=trust_remote_code, lora=lora
    )
    target = Path(output if output is not None else f"{checkpoint.name}-onnx")
    check_target(target, force=force)
    search = SearchConfig.from_generation_config(
        checkpoint.generation_config, settings, checkpoint.generation_fields
    )
    parameters = _parameters(backend, search, checkpoint)
    required = _required(required, parameters, lora_slots)
    _check_ids(search, checkpoint)
    _check_lengths(search, adapter.position_limits(checkpoint.config).max_positions)
    loras: dict[str, tuple[str, Lora]] = {}
    slots: tuple[Slot, ...] = ()
    if lora_slots is not None:
        loras = _named_loras(lora)
        slots = _slots(checkpoint, lora_slots, loras)
    elif lora:
        checkpoint = checkpoint.with_lora(_to_merge(lora, checkpoint))
    return write_package(
        *(checkpoint, adapter, target, search),
        backend=backend,
        required=required,
        slots=slots,
        loras=loras,
        wanted=wanted,
        external_data=external_data,
        force=force,
        parity=parity,
        say=say,
    )


def write_package(
    checkpoint: Checkpoint,
    adapter: DecoderAdapter,
    target: Path,
    search: SearchConfig,
    *,
    backend: str,
    required: Collection[str],
    slots: Sequence[Slot],
    loras: Mapping[str, tuple[str, Lora]],
    wanted: Wanted,
    external_data: bool,
    force: bool,
    parity: bool,
    say: Progress,
) -> ExportResult:
    """Make a package of what was found to be possible, and prove it.

    Args:
        checkpoint: with the LoRA that is to be merged, if any.
        adapter: the architecture's.
        target: the package folder.
        search: the defaults of the search.
        backend: ``loop`` or ``contrib``.
        required: names of parameters that get no default.
        slots: the linear layers that take a LoRA.
        loras: source and weights of LoRAs for them, by name.
        wanted: the precision.
        external_data: whether the weights stand in a file of their own.
        force: replace an existing package.
        parity: end with the quick parity grid.
        say: called with one line as each stage begins.

    Raises:
        BeamgenError: with nothing written.
    """
    parameters = _parameters(backend, search, checkpoint)
    texts = texts_of(wanted, checkpoint, adapter)
    if parity and wanted.int8_weights == "s8":
        check_exact("int8")
    with new_package_folder(target, force=force) as folder:
        say(f"tracing {checkpoint.source} ({adapter.name}, {checkpoint.dtype}) in float32")
        with tempfile.TemporaryDirectory(prefix=".decoder-", dir=folder) as scratch:
            graph, precision = build_graph(
                *(checkpoint, adapter, search, Path(scratch)),
                backend=backend,
                required=required,
                slots=slots,
                external_data=external_data,
                wanted=wanted,
                texts=texts,
                say=say,
            )
            say("writing the search graph")
            made = manifest_of(
                checkpoint, adapter, search, backend, parameters, graph, slots, precision
            )
            graph.metadata_props.update(embedded.records(made))
            save_graph(graph, folder, external_data=external_data)
        checkpoint.copy_companions(folder)
        write_manifest(folder, made)
        package = open_package(folder, verify=False)
        report, lora_reports = None, {}
        if parity:
            package, report = prove(package, checkpoint, say)
            package = seal_parity(package)
        for name, (source, weights) in loras.items():
            say(f"converting the LoRA {name}")
            package = add_adapter(package, name, weights, source)
            if parity:
                with_lora = checkpoint.with_lora(source)
                package, lora_reports[name] = prove(package, with_lora, say, lora=name)
    done = open_package(target, verify=False)
    return ExportResult(done, checkpoint, adapter, report, lora_reports)


def _to_merge(sources: Sequence[str | os.PathLike[str]], checkpoint: Checkpoint) -> str:
    """The one LoRA, held against the model before its weights are loaded."""
    if len(sources) > 1:
        raise LoraError(
            f"{len(sources)} LoRAs were given to be merged into one model",
            "pass --lora-slots to keep them apart and choose when generating, or name one",
        )
    check_peft_fits(checkpoint.empty_model(), find_peft(sources[0]))
    return origin(sources[0])


def _named_loras(sources: Sequence[str | os.PathLike[str]]) -> dict[str, tuple[str, Lora]]:
    """LoRAs for slots, by the names they get."""
    named: dict[str, tuple[str, Lora]] = {}
    for source in sources:
        name = lora_name(source)
        if name in named:
            raise LoraError(
                f"two LoRAs would be called '{name}'",
                "export with one; beamgen lora convert --name NAME adds the other",
            )
        named[name] = (origin(source), read_peft(find_peft(source)))
    return named


def _slots(
    checkpoint: Checkpoint, targets: Sequence[str], loras: Mapping[str, tuple[str, Lora]]
) -> tuple[Slot, ...]:
    """The slots asked for, or those that the LoRAs need, which have to fit."""
    model = checkpoint.empty_model()
    for _, lora in loras.values():
        check_layers(model, lora)
    needed = sorted({leaf(module) for _, lora in loras.values() for module in lora.weights})
    slots = find_slots(model, targets or needed or [ALL_LINEAR])
    for _, lora in loras.values():
        check_fits(lora, slots)
    return slots


def build_graph(
    checkpoint: Checkpoint,
    adapter: DecoderAdapter,
    search: SearchConfig,
    scratch: Path,
    *,
    backend: str = "loop",
    required: Collection[str] = (),
    slots: Sequence[Slot] = (),
    external_data: bool = False,
    wanted: Wanted = Wanted(),  # noqa: B008 - frozen
    texts: Texts | None = None,
    say: Progress = lambda line: None,
) -> tuple[ir.Model, Precision]:
    """Checkpoint -> decoder -> search graph; large weights stay in files in ``scratch``."""
    try:
        from beamgen.decoder.contrib_step import ContribStep
        from beamgen.decoder.export import export_decoder
        from beamgen.decoder.loop_step import LoopStep
        from beamgen.decoder.quantize import quantize
        from beamgen.decoder.teacher_forcing import TeacherForcing
        from beamgen.search.contrib import build_contrib
        from beamgen.search.loop import build_loop
    except ImportError as error:
        raise MissingExtraError("beamgen export", "export", error.name or "torch") from error
    model = checkpoint.load_merged()
    step = ContribStep if backend == "contrib" else LoopStep
    decoder = export_decoder(adapter, model, scratch, step, slots)
    del model
    gc.collect()
    geometry = adapter.kv_geometry(checkpoint.config)
    window = adapter.position_limits(checkpoint.config).attention_window
    precision = quantize(decoder, wanted.name, wanted.int8_weights)
    if precision.name != "fp32":
        say(f"measuring what {precision.name} costs")
        alone = decoder
        # The contrib decoder cannot be asked for all places of a text; and where int8 weights
        # overflow, uint8 ones give what they would give elsewhere.
        if backend == "contrib" or inexact(precision.weights):
            (scratch / "alone").mkdir()
            alone = export_decoder(adapter, checkpoint.load_merged(), scratch / "alone")
            quantize(alone, wanted.name, "u8" if inexact(precision.weights) else "auto")
        runner = TeacherForcing(
            *(alone, scratch, geometry, window), slots if alone is decoder else ()
        )
        precision = measured(precision, checkpoint, runner, texts)
        del alone, runner
        gc.collect()
    if backend == "contrib":
        graph = build_contrib(
            decoder, geometry, search, checkpoint.vocab_size, window, required, slots
        )
    else:
        external = external_data or weight_bytes(decoder) > EXTERNAL_DATA_BYTES
        graph = build_loop(decoder, geometry, search, window, required, slots, external=external)
    return graph, precision


def save_graph(graph: ir.Model, folder: Path, *, external_data: bool = False) -> None:
    """Write ``model.onnx``, with ``model.onnx.data`` beside it if wished or if it would not fit."""
    import onnx_ir as ir

    external = external_data or weight_bytes(graph) > EXTERNAL_DATA_BYTES
    if not external:  # what was read from a file with external data would still point there
        ir.external_data.load_to_model(graph)
    ir.save(graph, folder / MODEL, external_data=WEIGHTS if external else None)


def weight_bytes(model: ir.Model) -> int:
    """Of all initializers, those of bodies included."""
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def _check_ids(search: SearchConfig, checkpoint: Checkpoint) -> None:
    if search.catalogue is not None:
        raise SettingError(
            "a catalogue is not built into a file", "give it when generating: --catalogue FILE"
        )
    vocab_size = checkpoint.vocab_size
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
    return contrib_op.parameters(contrib_op.op_type(search), checkpoint.vocab_size)


def _required(
    names: Collection[str], parameters: Sequence[Parameter], lora_slots: Sequence[str] | None
) -> frozenset[str]:
    known = [parameter.name for parameter in parameters]
    if "lora" in names and lora_slots is None:
        raise SettingError("there are no slots whose inputs could be required", "add --lora-slots")
    slots = {"lora"} & set(names)
    names = [name for name in names if name != "lora"]
    if "all" in names:
        return frozenset(known) | slots
    for name in names:
        if name not in known:
            raise SettingError(
                f"the file has no parameter called '{name}'",
                close_matches(name, known) or f"there are {', '.join(known)}, and all",
            )
    return frozenset(names) | slots
