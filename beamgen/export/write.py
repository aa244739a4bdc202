"""A package is made of what was found to be possible, and proved."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.audio.extractor import read_or_reason
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import BeamgenWarning
from beamgen.export.add_lora import add_adapter
from beamgen.export.miniature import prove_lengths
from beamgen.export.prove import Progress, prove
from beamgen.export.request import ExportRequest
from beamgen.export.search_files import write_search
from beamgen.export.texts import texts_of
from beamgen.package.folder import (
    Package,
    new_package_folder,
    open_package,
    seal_parity,
)
from beamgen.quantization.saturation import SLOW_PLANES, check_exact, saturates
from beamgen.tokenizer.load import load_or_reason

if TYPE_CHECKING:
    from beamgen.parity.report import ParityReport


@dataclass(frozen=True)
class ExportResult:
    """What ``export`` made.

    Attributes:
        package: the finished package.
        checkpoint: what it was made from.
        adapter: the architecture's.
        parity: the report, or None where the check was left out.
        lora_parity: a report with each LoRA in the package's slots.
        takes_text: whether the package's tokenizer loads here; token ids it takes in any case.
    """

    package: Package
    checkpoint: Checkpoint
    adapter: DecoderAdapter
    parity: ParityReport | None
    lora_parity: Mapping[str, ParityReport] = field(default_factory=dict)
    takes_text: bool = True

    @property
    def exit_code(self) -> int:
        """The command's exit code: 0 where all agree, or nothing was compared."""
        reports = [*([self.parity] if self.parity else []), *self.lora_parity.values()]
        return max((report.exit_code for report in reports), default=0)


def write_package(request: ExportRequest, say: Progress) -> ExportResult:
    """Make a package of what was found to be possible, and prove it.

    Args:
        request: what is to be written.
        say: called with one line as each stage begins.

    Raises:
        BeamgenError: with nothing written.
    """
    checkpoint, adapter, target = request.checkpoint, request.adapter, request.target
    if checkpoint.leaves_code_aside:
        say(
            f"taking the {adapter.name} of transformers, not the Python code of {checkpoint.source}"
        )
    takes_text = _takes_text(checkpoint)
    if request.hears:
        _look_for_extractor(checkpoint)
    if request.precision.name == "w16" and saturates():
        warnings.warn(SLOW_PLANES, BeamgenWarning, stacklevel=3)
    texts = texts_of(request.precision, checkpoint, adapter, request.start)
    if request.parity and request.precision.int8_weights == "s8":
        check_exact("int8")
    with new_package_folder(target, force=request.force, inputs=request.inputs) as folder:
        say(
            f"tracing {checkpoint.source} ({adapter.name}, {checkpoint.dtype}) in float32"
            if request.decoder is None
            else f"building a search around {request.decoder.record['file']}"
        )
        package = write_search(request, folder, texts, say)
        report, lora_reports = None, {}
        if request.parity:
            package, report = prove(package, checkpoint, say, further=prove_lengths(request, say))
            package = seal_parity(package)
        for name, (source, weights) in request.loras.items():
            say(f"converting the LoRA {name}")
            package = add_adapter(package, name, weights, source)
            if request.parity:
                with_lora = checkpoint.with_lora(source)
                package, lora_reports[name] = prove(package, with_lora, say, lora=name)
    done = open_package(target, verify=False)
    return ExportResult(done, checkpoint, adapter, report, lora_reports, takes_text)


def _look_for_extractor(checkpoint: Checkpoint) -> None:
    """Warn where a package will take features only, no audio."""
    _, reason = read_or_reason(checkpoint.folder)
    if reason is not None:
        warnings.warn(
            f"the package will take features only, no audio: {reason}",
            BeamgenWarning,
            stacklevel=4,
        )


def _takes_text(checkpoint: Checkpoint) -> bool:
    """Whether a package can read text with the checkpoint's tokenizer, and a warning if not.

    A package runs no Python code, even where that of the checkpoint may run.
    """
    tokenizer, reason = load_or_reason(checkpoint.folder)
    if reason is not None:
        warnings.warn(
            f"the package will take token ids only, no text: {reason}", BeamgenWarning, stacklevel=4
        )
    elif tokenizer is not None and len(tokenizer) > checkpoint.vocab_size:
        warnings.warn(
            f"the tokenizer has {len(tokenizer)} tokens and the model {checkpoint.vocab_size}: "
            "a prompt with one of the others will be refused",
            BeamgenWarning,
            stacklevel=4,
        )
    return tokenizer is not None
