"""What is to be exported, once everything that was named has been found and checked."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.checkpoint.lora_source import find_peft, lora_name, origin
from beamgen.checkpoint.resolve import resolve
from beamgen.errors import LoraError, SettingError, close_matches
from beamgen.export.options import check_options
from beamgen.lora.fit import check_fits
from beamgen.lora.peft_folder import read_peft
from beamgen.lora.peft_model import check_peft_fits
from beamgen.lora.slots import Lora, Slot, leaf
from beamgen.lora.targets import ALL_LINEAR, check_layers, find_slots
from beamgen.package.folder import check_target
from beamgen.package.manifest import BACKENDS
from beamgen.quantization.record import Wanted
from beamgen.settings import contrib
from beamgen.settings.checks import check_penalty
from beamgen.settings.config import SearchConfig
from beamgen.settings.parameter import Parameter
from beamgen.settings.table import PARAMETERS


class ExportOptions(TypedDict, total=False):
    """The keyword arguments of ``export``; ``ExportRequest`` is what becomes of them.

    Attributes:
        model_class: HF class name, adapter name or ``model_type``.
        revision: of a hub id.
        trust_remote_code: run Python code that comes with the checkpoint.
        force: replace an existing package, in one rename.
        parity: end with the quick parity grid; True by default.
        settings: defaults of the search parameters, under HF's names.
        backend: ``loop``, HF's search, which is the default; or ``contrib``, ONNX
            Runtime's own operators (see docs/contrib-op.md).
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
    """

    model_class: str | None
    revision: str | None
    trust_remote_code: bool
    force: bool
    parity: bool
    settings: Mapping[str, Any] | None
    backend: str
    precision: str
    int8_weights: str
    quality_text: str | os.PathLike[str] | None
    required: Collection[str]
    lora: Sequence[str | os.PathLike[str]]
    lora_slots: Sequence[str] | None
    external_data: bool


@dataclass(frozen=True)
class ExportRequest:
    """Everything that decides what a package will hold; each part of it is known to be possible.

    Attributes:
        checkpoint: with the LoRA that is to be merged, if any.
        adapter: the architecture's.
        target: the package folder.
        search: the defaults of the search.
        backend: ``loop`` or ``contrib``.
        required: names of parameters that get no default; ``lora`` stands for the slots.
        slots: the linear layers that take a LoRA.
        loras: source and weights of LoRAs for them, by name.
        precision: how the weights are to be stored.
        external_data: whether the weights stand in a file of their own.
        force: replace an existing package.
        parity: end with the quick parity grid.
    """

    checkpoint: Checkpoint
    adapter: DecoderAdapter
    target: Path
    search: SearchConfig
    backend: str = "loop"
    required: Collection[str] = ()
    slots: Sequence[Slot] = ()
    loras: Mapping[str, tuple[str, Lora]] = field(default_factory=dict)
    precision: Wanted = Wanted()  # noqa: RUF009 - frozen
    external_data: bool = False
    force: bool = False
    parity: bool = True

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the file takes besides the prompts."""
        if self.backend == "loop":
            return PARAMETERS
        return contrib.parameters(contrib.op_type(self.search), self.checkpoint.vocab_size)


def export_request(
    model: str | os.PathLike[str] | None,
    output: str | os.PathLike[str] | None,
    options: ExportOptions,
) -> ExportRequest:
    """Find what ``export`` was asked for, and refuse what cannot be done before any work is.

    Raises:
        TypeError: ``export`` has no such option.
        AdapterError, CheckpointError, SettingError, LoraError, PackageError: see ``export``.
    """
    check_options("export", options, ExportOptions)
    force = options.get("force", False)
    lora, lora_slots = options.get("lora", ()), options.get("lora_slots")
    text = options.get("quality_text")
    precision = Wanted(
        options.get("precision", "fp32"),
        options.get("int8_weights", "auto"),
        None if text is None else Path(text),
    )
    checkpoint, adapter = resolve(
        model,
        options.get("model_class"),
        revision=options.get("revision"),
        trust_remote_code=options.get("trust_remote_code", False),
        lora=lora,
    )
    target = Path(output if output is not None else f"{checkpoint.name}-onnx")
    check_target(target, force=force)
    search = SearchConfig.from_generation_config(
        checkpoint.generation_config, options.get("settings"), checkpoint.generation_fields
    )
    asked = ExportRequest(
        checkpoint,
        adapter,
        target,
        search,
        backend=options.get("backend", "loop"),
        precision=precision,
        external_data=options.get("external_data", False),
        force=force,
        parity=options.get("parity", True),
    )
    _check_backend(asked.backend, search)
    required = _required(options.get("required", ()), asked.parameters, lora_slots)
    _check_ids(search, checkpoint)
    _check_lengths(search, adapter.position_limits(checkpoint.config).max_positions)
    if lora_slots is not None:
        loras = _named_loras(lora)
        slots = _slots(checkpoint, lora_slots, loras)
        return replace(asked, required=required, slots=slots, loras=loras)
    if lora:
        checkpoint = checkpoint.with_lora(_to_merge(lora, checkpoint))
    return replace(asked, checkpoint=checkpoint, required=required)


def _to_merge(sources: Sequence[str | os.PathLike[str]], checkpoint: Checkpoint) -> str:
    """The LoRA that is to be merged, held against the model before its weights are loaded."""
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


def _check_ids(search: SearchConfig, checkpoint: Checkpoint) -> None:
    if search.catalogue is not None:
        raise SettingError(
            "a catalogue is not built into a file", "give it when generating: --catalogue FILE"
        )
    vocab_size = checkpoint.vocab_size
    for name, ids in search.named_ids.items():
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


def _check_backend(backend: str, search: SearchConfig) -> None:
    """Refuse a backend that there is not, or that cannot search so."""
    if backend not in BACKENDS:
        raise SettingError(
            f"there is no backend called '{backend}'",
            close_matches(str(backend), BACKENDS) or f"there are {' and '.join(BACKENDS)}",
        )
    if backend == "contrib":
        contrib.check_honoured(search)
        longest = 1 + search.for_prompt(1).max_new_tokens
        check_penalty(search.num_beams, search.length_penalty, longest)


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
