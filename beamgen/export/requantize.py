"""A package in another precision, from the checkpoint that it was made of."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from beamgen.checkpoint.lora_source import read_lora
from beamgen.disk import local
from beamgen.errors import LoraError, PackageError, SettingError
from beamgen.export.decoder_file import refuse_own_decoder
from beamgen.export.options import check_options
from beamgen.export.prove import Progress
from beamgen.export.request import ExportRequest
from beamgen.export.save import stands_outside
from beamgen.export.texts import read_lines
from beamgen.export.write import ExportResult, write_package
from beamgen.package.folder import WEIGHTS, Package, check_target
from beamgen.package.manifest import Manifest
from beamgen.package.source import lora_source, open_source
from beamgen.quantization.record import BYTES, Wanted
from beamgen.quantization.saturation import saturates
from beamgen.settings.parameter import Required
from beamgen.settings.rules import check_comparable
from beamgen.settings.sources import DECODER_PROMPT

if TYPE_CHECKING:
    import onnx

_PROMPTS = ("input_ids", "attention_mask")


class QuantizeOptions(TypedDict, total=False):
    """The keyword arguments of ``quantize`` besides the precision.

    Attributes:
        int8_weights: see ``ExportOptions``.
        quality_text: see ``ExportOptions``.
        checkpoint: where the package's checkpoint is, if no longer where it was.
        trust_remote_code: run Python code that comes with the checkpoint.
        force: replace an existing package.
        parity: end with the quick parity grid; True by default.
    """

    int8_weights: str
    quality_text: str | os.PathLike[str] | None
    checkpoint: str | None
    trust_remote_code: bool
    force: bool
    parity: bool


def quantize(
    package: Package,
    output: str | os.PathLike[str] | None = None,
    *,
    precision: str = "int8",
    progress: Progress | None = None,
    **options: Unpack[QuantizeOptions],
) -> ExportResult:
    """Export a package's checkpoint once more, in another precision, and prove it.

    Backend, settings, slots and LoRAs are the package's. The weights are read from the
    checkpoint: rounding what was rounded before would lose twice.

    Args:
        package: what to make again; it is not changed.
        output: the folder to write; None names it after the package, e.g.
            ``biogpt-onnx-int8``.
        precision: ``fp32``, ``w16``, ``fp16``, ``int8`` or ``int4``.
        progress: called with one line as each stage begins.
        options: see ``QuantizeOptions``.

    Raises:
        DecoderFileError: the package's decoder came from a file.
        SettingError: there is no such precision, or the package has it already.
        RulesError: it is to be compared, and follows other rules than the transformers installed.
        PackageError: the output exists, or the package cannot be read.
        CheckpointError, LoraError: what it was made of is not there.
        MissingExtraError: torch is not installed.
    """
    check_options("quantize", options, QuantizeOptions)
    text, parity = options.get("quality_text"), options.get("parity", True)
    manifest = package.manifest
    int8_weights = options.get("int8_weights", "auto")
    wanted = Wanted(precision, int8_weights, None if text is None else local(text))
    if wanted.name == manifest.precision.name and _kind(wanted) == manifest.precision.int8_weights:
        raise SettingError(f"{package.folder} is {precision} already", "name another --precision")
    refuse_own_decoder(
        manifest.source,
        "beamgen quantize",
        f"export the checkpoint itself: beamgen export -m CHECKPOINT --precision {precision}",
    )
    folder = package.folder.resolve()
    target = local(output) if output is not None else _beside(package.folder, precision)
    if target.resolve() == folder:
        raise PackageError(
            f"{target} is the package that is read", "name another folder: --output NAME"
        )
    inputs = [folder, *([] if wanted.text is None else [wanted.text])]
    check_target(target, force=options.get("force", False), inputs=inputs)
    if parity and manifest.backend == "loop":
        check_comparable(manifest.rules, "pass --no-parity")
    if wanted.text is not None:
        read_lines(wanted.text)
    loras = {
        name: (_source(package, name, needed=parity), read_lora(path))
        for name, path in package.loras.items()
    }
    source = open_source(
        package,
        options.get("checkpoint"),
        trust_remote_code=options.get("trust_remote_code", False),
    )
    request = ExportRequest(
        source,
        source.adapter(manifest.adapter),
        target,
        manifest.search,
        manifest.rules,
        backend=manifest.backend,
        required=_required(package),
        start=_decoder_prompt(manifest),
        tasks=None if manifest.encoder is None else manifest.encoder.tasks,
        slots=manifest.lora_slots,
        loras=loras,
        precision=wanted,
        external_data=_asked_for_external_data(package),
        force=options.get("force", False),
        parity=parity,
        inputs=[*inputs, source.folder, *(local(origin) for origin, _ in loras.values())],
    )
    return write_package(request, progress or (lambda line: None))


def _asked_for_external_data(package: Package) -> bool | None:
    """What a package was asked to do with its weights; None where they stand as by default."""
    outside = WEIGHTS in package.manifest.files
    size = (package.folder / WEIGHTS if outside else package.model).stat().st_size
    return None if outside == stands_outside(None, size) else outside


def _beside(folder: Path, precision: str) -> Path:
    """A folder beside a package's, as it was named."""
    named = folder if folder.name else folder.resolve()
    return named.with_name(f"{named.name}-{precision}")


def _kind(wanted: Wanted) -> str:
    """How int8 weights will be stored on this CPU; ``auto`` for other precisions."""
    if wanted.name not in BYTES or wanted.int8_weights != "auto":
        return wanted.int8_weights
    return "u8" if saturates() else "s8"


def _source(package: Package, name: str, *, needed: bool) -> str:
    """Where a LoRA came from, which has to be there only if it is compared with that."""
    if not needed:
        return str(package.manifest.loras.get(name, {}).get("source"))
    try:
        return lora_source(package, name)
    except LoraError as error:
        folder = shlex.quote(str(package.folder))
        raise LoraError(
            error.cause, f"pass --no-parity, or first: beamgen lora remove {name} -m {folder}"
        ) from error


def _required(package: Package) -> Required:
    """The package's inputs without a default."""
    graph = _read(package).graph
    defaults = {tensor.name for tensor in graph.initializer}
    slots = {name for slot in package.manifest.lora_slots for name in slot.inputs}
    names = {value.name for value in graph.input} - defaults - set(_PROMPTS)
    return Required(frozenset(names - slots), bool(names & slots))


def _decoder_prompt(manifest: Manifest) -> tuple[int, ...]:
    """What the decoder of a package with an encoder begins with by default."""
    if manifest.encoder is None:
        return ()
    (row,) = (row for row in manifest.inputs if row["name"] == DECODER_PROMPT.name)
    if row["default"] is None:
        return (manifest.encoder.decoder_start_token_id,)
    ((*ids,),) = row["default"]
    return tuple(ids)


def _read(package: Package) -> onnx.ModelProto:
    import onnx

    return onnx.load(package.model, load_external_data=False)
