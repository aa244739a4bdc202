"""What is to be exported, once everything that was named has been found and checked."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from beamgen.adapter import DecoderAdapter, KVGeometry, check_stateless
from beamgen.checkpoint.checkpoint import Checkpoint, read_checkpoint
from beamgen.checkpoint.lora_source import find_peft, is_peft, lora_name, origin
from beamgen.checkpoint.resolve import resolve
from beamgen.default_adapter import DEFAULT
from beamgen.disk import local
from beamgen.errors import AdapterError, LoraError, NoAdapterError
from beamgen.export.checks import (
    check_alone,
    check_backend_name,
    check_honoured,
    check_ids,
    check_ids_with_files,
    check_lengths,
    check_offered,
    check_with_files,
    parameters_of,
    required_parameters,
)
from beamgen.export.decoder_file import (
    GivenDecoder,
    check_with_decoder,
    given_decoder,
    refuse_lora,
)
from beamgen.export.encoder import check_supported, decoder_start, task_tokens
from beamgen.export.options import check_options
from beamgen.export.texts import read_lines
from beamgen.lora.align import aligned
from beamgen.lora.fit import check_fits
from beamgen.lora.peft_folder import read_config, read_peft
from beamgen.lora.peft_model import check_peft_fits
from beamgen.lora.slots import Lora, Slot, leaf
from beamgen.lora.targets import ALL_LINEAR, check_layers, find_slots, linear_layers
from beamgen.package.folder import check_target
from beamgen.quantization.record import Wanted
from beamgen.registry import is_encoder_decoder, read_apart
from beamgen.seq2seq_adapter import Seq2SeqAdapter, TaskTokens
from beamgen.settings.config import SearchConfig
from beamgen.settings.parameter import NOTHING_REQUIRED, Parameter, Required
from beamgen.settings.rules import Rules, check_comparable, installed_rules, rules_named
from beamgen.settings.setting import IDS
from beamgen.settings.sources import DECODER_PROMPT, offered
from beamgen.settings.task_prompt import check_task, split, task_prompt


class ExportOptions(TypedDict, total=False):
    """The keyword arguments of ``export``; ``ExportRequest`` is what becomes of them.

    Attributes:
        model_class: HF class name, adapter name or ``model_type``.
        adapter: ``default`` takes the checkpoint's sizes by the names that most configs share,
            where no adapter knows its architecture; parity has to judge the file then.
        decoder: an ``.onnx`` file of one decoder step that somebody else exported, which is
            taken instead of a trace of the checkpoint (see docs/decoder-file.md).
        revision: of a hub id.
        trust_remote_code: run Python code that comes with the checkpoint.
        force: replace an existing package, in one exchange.
        parity: end with the quick parity grid; True by default.
        rules: the release of transformers whose rules of ``generate`` the file follows,
            ``4.57``, ``5.18``, ``5.23`` or ``5.24`` (see docs/transformers.md); those of
            the installed one by default. Others cannot be compared here.
        settings: defaults of the search parameters, under HF's names.
        backend: ``loop``, HF's search, which is the default; or ``contrib``, ONNX
            Runtime's own operators (see docs/contrib-op.md).
        precision: ``fp32``, or weights in fewer bits: ``w16``, ``fp16``, ``int8``, ``int4`` (see
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
        ignore_unread: names, with ``*``, of keys of config.json and of stored tensors that
            transformers does not read and that mean nothing; others are refused.
        external_data: put the weights into ``model.onnx.data``, which ONNX Runtime maps
            instead of reading: half the time and memory to load. None, the default, does so
            above 200 MB; above 2 GB that is always so.
    """

    model_class: str | None
    adapter: str | None
    decoder: str | os.PathLike[str] | None
    revision: str | None
    trust_remote_code: bool
    force: bool
    parity: bool
    rules: str | None
    settings: Mapping[str, Any] | None
    backend: str
    precision: str
    int8_weights: str
    quality_text: str | os.PathLike[str] | None
    required: Collection[str]
    lora: Sequence[str | os.PathLike[str]]
    lora_slots: Sequence[str] | None
    ignore_unread: Collection[str]
    external_data: bool | None


@dataclass(frozen=True)
class ExportRequest:
    """Everything that decides what a package will hold; each part of it is known to be possible.

    Attributes:
        checkpoint: with the LoRA that is to be merged, if any.
        adapter: the architecture's.
        target: the package folder.
        search: the defaults of the search.
        rules: which the search follows.
        backend: ``loop`` or ``contrib``.
        required: inputs that get no default.
        start: ids with which the decoder behind an encoder begins; none where there is none.
        tasks: the tokens among them that ask for a language or a task, or None.
        slots: the linear layers that take a LoRA.
        loras: source and weights of LoRAs for them, by name.
        precision: how the weights are to be stored.
        external_data: whether the weights stand in a file of their own; None goes by size.
        force: replace an existing package.
        parity: end with the quick parity grid.
        inputs: files and folders that are read, which the package must not replace.
        decoder: the decoder file to build around, or None: the checkpoint is traced.
    """

    checkpoint: Checkpoint
    adapter: DecoderAdapter
    target: Path
    search: SearchConfig
    rules: Rules
    backend: str = "loop"
    required: Required = NOTHING_REQUIRED
    start: tuple[int, ...] = ()
    tasks: TaskTokens | None = None
    slots: Sequence[Slot] = ()
    loras: Mapping[str, tuple[str, Lora]] = field(default_factory=dict)
    precision: Wanted = Wanted()  # noqa: RUF009 - frozen
    external_data: bool | None = None
    force: bool = False
    parity: bool = True
    inputs: Sequence[Path] = ()
    decoder: GivenDecoder | None = None

    @property
    def geometry(self) -> KVGeometry:
        """Shape of the cache."""
        if self.decoder is not None:
            return self.decoder.geometry
        return self.adapter.kv_geometry(self.checkpoint.config)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the file takes besides the prompts."""
        size = self.checkpoint.vocab_size
        own = parameters_of(self.backend, self.search, size, self.offered)
        return (DECODER_PROMPT, *own) if self.start else own

    @property
    def hears(self) -> bool:
        """Whether an encoder reads features, which are made of audio."""
        return IDS not in self.offered

    @property
    def offered(self) -> frozenset[str]:
        """What the file has of that which some settings ask for."""
        adapter, config = self.adapter, self.checkpoint.config
        sources = adapter.sources(config) if isinstance(adapter, Seq2SeqAdapter) else ()
        return offered(sources, self.search)


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
    force, backend = options.get("force", False), options.get("backend", "loop")
    lora, lora_slots = options.get("lora", ()), options.get("lora_slots")
    settings, task = split(options.get("settings") or {})
    required = options.get("required", ())
    precision = _precision(options)
    check_backend_name(backend)
    check_with_decoder(options)
    rules = _rules(options)
    check_alone(settings, rules)
    texts = [] if precision.text is None else [precision.text]
    decoder_path = None if options.get("decoder") is None else local(options["decoder"] or "")
    read = [
        *(local(each) for each in (model, *lora) if each is not None),
        *texts,
        *([] if decoder_path is None else [decoder_path]),
    ]
    if output is not None:  # before a hub id is downloaded
        check_target(local(output), force=force, inputs=read)
    model_class = _model_class(options)
    if model is not None and is_peft(model):
        if decoder_path is not None:
            refuse_lora()
        lora, model = [model, *lora], None
        model_class = model_class if model_class == DEFAULT else None
    find = partial(
        resolve,
        model,
        revision=options.get("revision"),
        trust_remote_code=options.get("trust_remote_code", False),
        lora=lora,
    )
    is_unknown = False
    try:
        files = find(model_class)
    except NoAdapterError:
        if decoder_path is None or model_class is not None:
            raise
        files, is_unknown = find(DEFAULT), True  # the decoder file tells the sizes of its cache
    target = local(output if output is not None else f"{files.name}-onnx")
    inputs = [files.folder, *read]
    check_target(target, force=force, inputs=inputs)
    loras = _named_loras(lora) if lora_slots is not None else {}
    to_merge = _one_lora(lora) if lora and lora_slots is None else None
    check_with_files(files, settings, backend, required, lora_slots, rules)
    if to_merge is None:  # which may bring a vocabulary of its own
        check_ids_with_files(files, settings, rules)

    checkpoint = read_checkpoint(files, options.get("ignore_unread", ()))
    adapter = checkpoint.adapter(DEFAULT if is_unknown else _model_class(options))
    limits = adapter.position_limits(checkpoint.config)
    if is_encoder_decoder(adapter):
        check_supported(options)
    checkpoint = checkpoint if to_merge is None else checkpoint.with_lora(lora[0])
    search = SearchConfig.from_generation_config(
        checkpoint.generation_config,
        settings,
        checkpoint.generation_fields,
        rules,
        read_apart(adapter),
    )
    start, tasks = _decoder_prompt(checkpoint, adapter, search, {**settings, **task})
    asked = ExportRequest(
        checkpoint,
        adapter,
        target,
        search,
        rules,
        backend=backend,
        start=start,
        tasks=tasks,
        loras=loras,
        precision=precision,
        external_data=options.get("external_data"),
        force=force,
        parity=options.get("parity", True),
        inputs=inputs,
    )
    check_honoured(backend, search)
    check_offered(search, asked.offered)
    if backend == "contrib":
        check_stateless(adapter, checkpoint.config, "ONNX Runtime's operators")
    check_ids(search.named_ids, checkpoint.vocab_size)
    check_lengths(search, limits.max_positions)
    if to_merge is not None:
        check_peft_fits(checkpoint.empty_model(), to_merge, adapter.fused)
    needed = required_parameters(required, asked.parameters, lora_slots)
    asked = replace(asked, required=needed)
    if decoder_path is not None:
        asked = replace(asked, decoder=given_decoder(decoder_path, checkpoint, adapter))
    return asked if lora_slots is None else _with_slots(asked, lora_slots)


def _decoder_prompt(
    checkpoint: Checkpoint,
    adapter: DecoderAdapter,
    search: SearchConfig,
    settings: Mapping[str, Any],
) -> tuple[tuple[int, ...], TaskTokens | None]:
    """What a decoder behind an encoder begins with by default, and the tokens of its tasks."""
    if not isinstance(adapter, Seq2SeqAdapter):
        check_task(None, settings.get("language"), settings.get("task"))
        return (), None
    start = decoder_start(checkpoint, settings)
    tasks = task_tokens(checkpoint, adapter, settings)
    if tasks is None:
        return (start,), None
    prompt = task_prompt(tasks, start, return_timestamps=search.return_timestamps)
    return tuple(prompt), tasks


def _model_class(options: ExportOptions) -> str | None:
    """What was asked for by ``model_class`` or by ``adapter``, as one."""
    asked, adapter = options.get("model_class"), options.get("adapter")
    if adapter is None:
        return asked
    if adapter != DEFAULT:
        raise AdapterError(
            f"adapter '{adapter}' was asked for, and only {DEFAULT} can be",
            "leave it out, or pass --model-class NAME",
        )
    if asked is not None:
        raise AdapterError(
            f"--model-class {asked} and --adapter {DEFAULT} were given", "leave one of the two out"
        )
    if not options.get("parity", True):
        raise AdapterError(
            f"--adapter {DEFAULT} was given with --no-parity, and nothing but parity can judge it",
            "leave out --no-parity",
        )
    return adapter


def _rules(options: ExportOptions) -> Rules:
    """The rules asked for, which can be compared if they are to be."""
    asked, backend = options.get("rules"), options.get("backend", "loop")
    rules = installed_rules() if asked is None else rules_named(asked)
    if options.get("parity", True) and backend == "loop":
        check_comparable(rules, "pass --no-parity, or leave out --rules")
    return rules


def _precision(options: ExportOptions) -> Wanted:
    """How the weights are to be stored, and the text to measure it on, which can be read."""
    text = options.get("quality_text")
    path = None if text is None else local(text)
    wanted = Wanted(options.get("precision", "fp32"), options.get("int8_weights", "auto"), path)
    if path is not None:
        read_lines(path)
    return wanted


def _one_lora(sources: Sequence[str | os.PathLike[str]]) -> Path:
    """The folder of the one LoRA that can be merged."""
    if len(sources) > 1:
        raise LoraError(
            f"{len(sources)} LoRAs were given to be merged into one model",
            "pass --lora-slots to keep them apart and choose when generating, or name one",
        )
    folder = find_peft(sources[0])
    read_config(folder)
    return folder


_ADD_LATER = "add it by another name: beamgen lora convert PEFT_DIR -m PACKAGE --name NAME"


def _named_loras(sources: Sequence[str | os.PathLike[str]]) -> dict[str, tuple[str, Lora]]:
    """LoRAs for slots, by the names they get."""
    named: dict[str, tuple[str, Lora]] = {}
    for source in sources:
        try:
            name = lora_name(source)
        except LoraError as error:
            raise LoraError(error.cause, f"export without it, and {_ADD_LATER}") from error
        if name in named:
            raise LoraError(
                f"two LoRAs would be called '{name}'",
                f"export with one, and {_ADD_LATER}",
            )
        named[name] = (origin(source), read_peft(find_peft(source)))
    return named


def _with_slots(request: ExportRequest, targets: Sequence[str]) -> ExportRequest:
    """The slots asked for, or those that the LoRAs need, which have to fit."""
    model = request.checkpoint.empty_model()
    layers = linear_layers(model)
    loras = {
        name: (source, aligned(lora, layers, request.adapter.fused))
        for name, (source, lora) in request.loras.items()
    }
    for _, lora in loras.values():
        check_layers(model, lora)
    needed = sorted({leaf(module) for _, lora in loras.values() for module in lora.weights})
    slots = find_slots(model, targets or needed or [ALL_LINEAR])
    for _, lora in loras.values():
        check_fits(lora, slots)
    return replace(request, slots=slots, loras=loras)
