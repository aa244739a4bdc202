"""A folder for onnxruntime-genai: the decoder step alone, which genai searches with."""

from __future__ import annotations

import gc
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from beamgen.adapter import DecoderAdapter, check_stateless
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import MissingExtraError
from beamgen.export.decoder_file import refuse_own_decoder
from beamgen.export.prove import Progress
from beamgen.export.save import save_graph
from beamgen.formats.format import Check, Format
from beamgen.formats.genai.config import CONFIG, check_runs, check_widths, genai_config, not_carried
from beamgen.package import embedded
from beamgen.package.folder import Package
from beamgen.package.source import open_source
from beamgen.quantization.record import Precision
from beamgen.tokenizer.files import TOKENIZER, tokenizer_files

if TYPE_CHECKING:
    import onnx_ir as ir

    from beamgen.lora.slots import Slot


class GenaiOptions(TypedDict, total=False):
    """The keyword arguments of ``package_as(package, "genai", ...)``.

    Attributes:
        checkpoint: where the package's checkpoint is, if no longer where it was.
        trust_remote_code: run Python code that comes with the checkpoint.
    """

    checkpoint: str | None
    trust_remote_code: bool


def write(
    package: Package, folder: Path, say: Progress, *, target: Path, **options: Unpack[GenaiOptions]
) -> Sequence[Check]:
    """Export the package's checkpoint once more, as a step; see docs/genai.md.

    Args:
        package: gives the checkpoint, the search's defaults, the tokenizer and LoRAs.
        folder: an empty folder.
        say: called with one line as each stage begins.
        target: what the folder will be called.
        options: see ``GenaiOptions``.

    Raises:
        SettingError: genai would fail on the package's search.
        AdapterError: it has no place for what the model keeps.
        DecoderFileError: the package's decoder came from a file.
        CheckpointError, LoraError: what it was exported from is not there.
        MissingExtraError: torch is not installed.
    """
    check_runs(package.manifest.search)
    refuse_own_decoder(
        package.manifest.source,
        "beamgen package genai",
        "export the checkpoint itself: beamgen export -m CHECKPOINT",
    )
    trust_remote_code = options.get("trust_remote_code", False)
    source = open_source(package, options.get("checkpoint"), trust_remote_code=trust_remote_code)
    adapter = source.adapter(package.manifest.adapter)
    check_stateless(adapter, source.config, "onnxruntime-genai")
    check_widths(adapter, source.config)
    say(f"tracing {source.source} ({adapter.name}, {source.dtype}) in float32")
    with tempfile.TemporaryDirectory(prefix=".decoder-", dir=folder) as scratch:
        graph = _step(source, adapter, package.manifest.lora_slots, Path(scratch))
        graph.metadata_props.update(
            embedded.records(replace(package.manifest, backend="step", precision=Precision()))
        )
        graph.metadata_props[embedded.FORMAT] = "onnxruntime-genai, a step without the search"
        save_graph(graph, folder)
        del graph
        gc.collect()
    config = genai_config(adapter, source, package.manifest)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    with_tokenizer = _copy_companions(package, folder)
    from beamgen.formats.genai.check import check_folder

    checks = check_folder(
        folder,
        package,
        source,
        say,
        with_tokenizer=with_tokenizer,
        trust_remote_code=trust_remote_code,
    )
    return [*checks, *_left_out(package, with_tokenizer)]


def _step(
    checkpoint: Checkpoint, adapter: DecoderAdapter, slots: Sequence[Slot], scratch: Path
) -> ir.Model:
    """Trace the checkpoint's decoder, and wrap it into the step that genai takes."""
    try:
        from beamgen.decoder.export import export_decoder
        from beamgen.decoder.single_step import SingleStep
        from beamgen.search.one_step import build_step
    except ImportError as error:
        raise MissingExtraError("beamgen package genai", "export", error.name or "torch") from error
    model = checkpoint.load_merged()
    decoder = export_decoder(adapter, model, scratch, SingleStep, slots)
    del model
    gc.collect()
    return build_step(decoder)


def _copy_companions(package: Package, folder: Path) -> bool:
    """Copy configs, licences, LoRAs and a tokenizer that genai reads; say if there is one."""
    with_tokenizer = (package.folder / TOKENIZER).is_file()
    tokenizer = tokenizer_files(package.folder) if with_tokenizer else []
    loras = [path.relative_to(package.folder) for path in package.loras.values()]
    plain = [path for path in map(Path, package.manifest.files) if _is_plain(path)]
    for path in dict.fromkeys([*plain, *loras, *tokenizer]):
        (folder / path).parent.mkdir(exist_ok=True)
        shutil.copyfile(package.folder / path, folder / path)
    return with_tokenizer


def _is_plain(path: Path) -> bool:
    """Whether a file belongs to the model in any format."""
    config = path.name in {"config.json", "generation_config.json"}
    licence = path.name.upper().startswith(("LICEN", "NOTICE"))
    return len(path.parts) == 1 and (config or licence)


def _left_out(package: Package, with_tokenizer: bool) -> list[Check]:
    """Notes on what a user would look for in vain."""
    lines = not_carried(package.manifest)
    if package.manifest.precision.name != "fp32":
        lines.append(f"the package is {package.manifest.precision.name}, this decoder fp32")
    if not with_tokenizer:
        lines.append(f"no tokenizer: genai reads {TOKENIZER} only; pass token ids")
    return [Check(line, None) for line in lines]


def _after(folder: Path) -> tuple[str, ...]:
    return (f'onnxruntime_genai.Model("{folder}"); examples/genai/chat.py is a program',)


FORMAT = Format(
    title="onnxruntime-genai model",
    mark="beamgen-genai.json",
    output="{name}-genai",
    options=GenaiOptions,
    write=write,
    after=_after,
)
