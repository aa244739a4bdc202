"""A model of Triton Inference Server, run by its ONNX Runtime backend.

Triton joins requests that wait into one batch, or runs each by itself:

- ``dynamic``: requests whose prompts have one length are joined. Parameters are fixed in
  the file, but for those that every request gives.
- ``ragged``: requests with prompts of any length are joined; the file pads them itself.
- ``simple``: the file as it is. No requests are joined, and all parameters are optional.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from beamgen.errors import MissingExtraError, PromptError, SettingError
from beamgen.export.prove import Progress
from beamgen.formats.format import Check, Format
from beamgen.formats.triton.checks import check_config, check_joined, load
from beamgen.formats.triton.config import ModelConfig, Tensor, tensor, to_text
from beamgen.formats.triton.plan import Plan, make_plan, unheeded
from beamgen.formats.triton.ports import PROMPT_LENGTHS, Ports, ports_of
from beamgen.formats.triton.requests import plain_requests, requests_to_join
from beamgen.formats.triton.server import check_served
from beamgen.package import embedded
from beamgen.package.folder import MODEL, WEIGHTS, Package
from beamgen.runtime.texts import with_target
from beamgen.tokenizer.load import load_tokenizer

BATCHINGS = ("dynamic", "ragged", "simple")

CONFIG = "config.pbtxt"
VERSION = "1"

DEFAULT_MAX_BATCH_SIZE = 8


class TritonOptions(TypedDict, total=False):
    """The keyword arguments of ``package_as(package, "triton", ...)``.

    Attributes:
        batching: ``dynamic``, ``ragged`` or ``simple``, see above.
        max_batch_size: rows of one run at most, 8 by default.
        inputs: parameters that every request has to give; see ``make_plan``.
        lora: of the package's, the one to build in; without it slots stay empty.
        settings: what to fix otherwise than in the package, under HF's names.
        tgt_lang: the language to translate into, by the code that the package's tokenizer has.
    """

    batching: str
    max_batch_size: int | None
    inputs: Sequence[str] | None
    lora: str | None
    settings: Mapping[str, Any] | None
    tgt_lang: str | None


def write(
    package: Package, folder: Path, say: Progress, *, target: Path, **options: Unpack[TritonOptions]
) -> list[Check]:
    """Write ``config.pbtxt`` and ``1/model.onnx``, and check them.

    Args:
        package: what to write.
        folder: an empty one.
        say: called with one line as each stage begins.
        target: the folder's final place, whose name is the model's.
        options: see ``TritonOptions``.

    Raises:
        SettingError: a combination that Triton or the model cannot do.
        LoraError: there is no such LoRA.
        PromptError: there is no such language.
        MissingExtraError: onnxscript is not installed, which rewrites the file.
    """
    batching, settings = options.get("batching", "dynamic"), options.get("settings") or {}
    max_batch_size = options.get("max_batch_size")
    tgt_lang = options.get("tgt_lang")
    if tgt_lang is not None and batching != "simple":
        settings = _with_target(package, settings, tgt_lang)
    if batching not in BATCHINGS:
        raise SettingError(
            f"there is no batching called '{batching}'", f"there are {', '.join(BATCHINGS)}"
        )
    place = folder / VERSION
    place.mkdir()
    if batching == "simple":
        _refuse_all(options)
        say("copying the file")
        for name in (MODEL, WEIGHTS):
            if (package.folder / name).is_file():
                shutil.copyfile(package.folder / name, place / name)
        return _finish(package, folder, say, target.absolute().name, None)
    plan = make_plan(
        package,
        ragged=batching == "ragged",
        max_batch_size=DEFAULT_MAX_BATCH_SIZE if max_batch_size is None else max_batch_size,
        inputs=options.get("inputs"),
        settings=settings,
        lora=options.get("lora"),
    )
    say("rewriting the search graph")
    _rewrite(package, plan, place)
    return _finish(package, folder, say, target.absolute().name, plan)


def _with_target(package: Package, settings: Mapping[str, Any], tgt_lang: str) -> dict[str, Any]:
    tokenizer = load_tokenizer(package.folder)
    if tokenizer is None:
        raise PromptError(
            f"{package.folder} has no tokenizer, which would know the language '{tgt_lang}'",
            "name its token: --set forced_bos_token_id=ID",
        )
    encoder, languages = package.manifest.encoder, tokenizer.languages
    if encoder is not None and encoder.decoder_start_token_id in languages.ids.values():
        token = languages.id_of(tgt_lang)
        raise SettingError(
            "tgt_lang was given, and what the decoder begins with is the token of a language",
            f"feed decoder_input_ids [[{token}]], or export with decoder_start_token_id {token}",
        )
    return with_target(settings, tokenizer, tgt_lang)


def _refuse_all(options: TritonOptions) -> None:
    """Refuse options for a file that is copied as it is."""
    given = {**options, **(options.get("settings") or {})}
    names = [
        name
        for name, value in given.items()
        if name not in ("batching", "settings") and value is not None
    ]
    if names:
        raise SettingError(
            f"with --batching simple the file stays as it is, so {', '.join(names)} cannot be set",
            "send parameters with the requests; or leave --batching out",
        )


def _rewrite(package: Package, plan: Plan, place: Path) -> None:
    try:
        import onnx_ir as ir

        from beamgen.export.save import save_graph
        from beamgen.formats.triton.graph import (
            check_sources,
            join_prompts,
            join_sources,
            set_inputs,
        )
    except ImportError as error:
        raise MissingExtraError(
            "beamgen package triton", "triton", error.name or "onnxscript"
        ) from error
    search = plan.search
    model = set_inputs(ir.load(package.model), plan.values(package), plan.per_request, plan.outputs)
    encoder = package.manifest.encoder
    if encoder is not None:
        model = check_sources(model, encoder.max_positions)
        model = join_sources(model, search.pad_token_id) if plan.ragged else model
    elif plan.ragged:
        model = join_prompts(model, search.pad_token_id, search.fill_token_id)
    kind = "ragged" if plan.ragged else "dynamic"
    model.metadata_props[embedded.FORMAT] = f"Triton's ONNX Runtime backend, {kind} batching"
    save_graph(model, place, external_data=WEIGHTS in package.manifest.files)


def _finish(
    package: Package, folder: Path, say: Progress, name: str, plan: Plan | None
) -> list[Check]:
    """Write the configuration, and check; one session at a time, for each holds the weights."""
    say("asking the package")
    requests = plain_requests(package) if plan is None else requests_to_join(package, plan)
    say("opening the file")
    session = load(folder / VERSION / MODEL)
    ports = ports_of(session)
    text = to_text(_config(package, name, plan, ports))
    (folder / CONFIG).write_text(text, encoding="utf-8")
    checks = [check_config(text, name, ports)]
    if plan is not None:
        checks.append(check_joined(session, requests, plan))
    del session
    say("asking a server")
    return [*checks, check_served(folder, name, requests)]


def _config(package: Package, name: str, plan: Plan | None, ports: Ports) -> ModelConfig:
    about = {row["name"]: str(row["meaning"] or "") for row in package.manifest.inputs}
    batched = plan is not None

    def tensors(values: Mapping[str, Any], optional: bool = False) -> list[Tensor]:
        return [
            tensor(key, ported, batched=batched, optional=optional, about=about.get(key, ""))
            for key, ported in values.items()
        ]

    needed = dict(ports.inputs)
    ragged = []
    if plan is not None and plan.ragged:
        needed.pop(PROMPT_LENGTHS)
        dtype, _ = needed.pop("input_ids")
        (whole,) = tensors({"input_ids": (dtype, (-1, -1))})
        what = "the prompt" if package.manifest.encoder is None else "what the encoder reads"
        ragged = [Tensor(whole.name, whole.data_type, whole.dims, ragged=True, about=what)]
    return ModelConfig(
        name,
        _about(package, plan),
        plan.max_batch_size if plan is not None else 0,
        [*ragged, *tensors(needed), *tensors({} if plan else ports.defaults, optional=True)],
        tensors(ports.outputs),
        PROMPT_LENGTHS if ragged else None,
    )


def _about(package: Package, plan: Plan | None) -> str:
    """Comments on what the file searches with, for whoever reads the configuration."""
    lines = [f"The package {package.folder.resolve().name}, by beamgen package triton."]
    if plan is not None:
        fixed = {
            name: value
            for name, value in plan.search.to_json().items()
            if name not in {*plan.per_request, *unheeded(plan.search)} and value not in (None, [])
        }
        lines.append(f"Fixed in the file: {', '.join(f'{n} {v}' for n, v in fixed.items())}.")
        if package.manifest.lora_slots:
            lines.append(f"LoRA: {plan.lora or 'none, the base model'}.")
    return "\n".join(lines)


def _after(folder: Path) -> list[str]:
    repository = folder.absolute().parent
    return [
        "docker run --rm -p 8000:8000 -p 8001:8001 "
        f"-v {shlex.quote(str(repository))}:/models nvcr.io/nvidia/tritonserver:25.08-py3 "
        "tritonserver --model-repository /models  (25.08 or newer)"
    ]


FORMAT = Format(
    title="Triton model",
    mark="beamgen-triton.json",
    output="model_repository/{name}",
    options=TritonOptions,
    write=write,
    after=_after,
    reads_text=True,
)
