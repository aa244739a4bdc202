"""Finding a checkpoint: a local folder or a hub id, whose JSON files already show most mistakes.

Importing transformers, which reads them with all that it knows, takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.hub import download, is_hub_id
from beamgen.checkpoint.lora_source import is_peft
from beamgen.checkpoint.stored_config import check_stored
from beamgen.disk import local
from beamgen.errors import AdapterError, CheckpointError
from beamgen.lora.peft_folder import CONFIG as PEFT_CONFIG
from beamgen.registry import adapters, find_adapter, find_refusal, is_encoder_decoder
from beamgen.tokenizer.files import has_tokenizer

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"

_HUB_PAGE = re.compile(r"https?://(?:huggingface\.co|hf\.co)/(?P<hub_id>[\w.-]+(?:/[\w.-]+)?)")
#: What says that a folder is one that beamgen wrote.
_PACKAGE = "beamgen.json"

_CONFIGS = ["*.json", "*.txt", "*.model", "*.jinja", "LICEN*", "NOTICE*"]
_CONFIGS += ["*.spm", "*.tiktoken", "*.tokenizer", "bpe.codes", "tokenizer.model.*"]


@dataclass(frozen=True)
class CheckpointFiles:
    """A checkpoint on disk, of which nothing was read.

    Attributes:
        source: what the user named: a path, a hub id, or ``demo:NAME``.
        folder: where its files are.
        revision: the hub revision asked for, or None.
        trust_remote_code: whether its own Python code may run.
        model_type: the architecture, as ``config.json`` names it, or else as its
            ``architectures``, the folder's name or a caller does; None where none does.
    """

    source: str
    folder: Path
    revision: str | None
    trust_remote_code: bool
    model_type: str | None

    @property
    def origin(self) -> dict[str, str]:
        """``kind`` (``demo``, ``folder`` or ``hub``) and ``model``, by which to find it again."""
        if self.source.startswith("demo:"):
            return {"kind": "demo", "model": self.source.removeprefix("demo:")}
        folder = local(self.source)
        if folder.is_dir():
            return {"kind": "folder", "model": str(folder.resolve())}
        return {"kind": "hub", "model": self.source}

    @property
    def name(self) -> str:
        """A short name for folders: the last part of its path or id."""
        return Path(self.origin["model"]).name

    @property
    def names_model_type(self) -> bool:
        """Whether ``config.json`` itself says what the architecture is."""
        return "model_type" in (self.stored(CONFIG) or {})

    @property
    def has_tokenizer(self) -> bool:
        """Whether any tokenizer file lies beside the weights."""
        return has_tokenizer(self.folder)

    def stored(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder as it stands there; None where it is missing or damaged.

        What transformers makes of it counts, for it knows defaults and older names.
        """
        return _stored(self.folder / name)

    def of(self, adapter: DecoderAdapter) -> CheckpointFiles:
        """The same files, of an adapter's architecture where ``config.json`` names none."""
        if self.names_model_type or not adapter.model_type:  # of any architecture
            return self
        return replace(self, model_type=adapter.model_type)


def find_checkpoint(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> CheckpointFiles:
    """Find a checkpoint, and download it where it is a hub id.

    Raises:
        CheckpointError: missing path, hub out of reach, no config, or of a model that no
            file can search with.
    """
    name = os.fspath(source)
    folder = local(name)
    if folder.is_dir():
        if revision is not None:
            raise CheckpointError(
                f"--revision {revision} was given with the local folder {name}",
                "leave it out: a revision belongs to a hub id",
            )
    elif folder.exists():
        raise CheckpointError(
            f"{name} is a file, not a checkpoint folder", f"pass the folder that holds {CONFIG}"
        )
    elif is_hub_id(name):
        wanted = [*_CONFIGS, "*.py"] if trust_remote_code else _CONFIGS
        folder = download(
            name, wanted, revision=revision, what="checkpoint", refuse=CheckpointError
        )
    elif (page := _HUB_PAGE.match(name)) is not None:
        raise CheckpointError(
            f"{name} is the address of a page", f"name the repository alone: {page['hub_id']}"
        )
    else:
        raise CheckpointError(f"there is no folder {name}", "check the path")
    return _with_config(name, folder, revision, trust_remote_code)


def find_demo(adapter: DecoderAdapter) -> CheckpointFiles:
    """Find the demo checkpoint that an adapter embeds.

    Raises:
        CheckpointError: it has none.
    """
    if adapter.demo is None or not adapter.demo.is_dir():
        raise CheckpointError(
            f"the adapter '{adapter.name}' ships no demo checkpoint",
            "pass --model with a checkpoint folder or hub id; `beamgen list` shows who has a demo",
        )
    return _with_config(f"demo:{adapter.name}", adapter.demo, None, False)


def check_architecture(files: CheckpointFiles, asked: str | None) -> None:
    """Refuse an architecture without an adapter, or another than the class asked for.

    Raises:
        AdapterError: no adapter knows the architecture, it is refused, or none goes by that name.
        CheckpointError: the checkpoint is of another architecture, or no decoder.
    """
    adapter = None if asked is None else find_adapter(asked)
    config, model_type = files.stored(CONFIG), files.model_type
    refuse_unnamed(files)
    if config is None or model_type is None:
        return
    refusal = find_refusal(model_type)
    if refusal is not None:
        raise refusal.error(model_type, _text_model(config))
    if "auto_map" in config:  # own code may say another
        return
    if config.get("add_cross_attention") is True:
        raise crossing(files.source)
    said = config.get("is_encoder_decoder")
    kind = said if isinstance(said, bool) else None
    refuse_encoder(files, model_type)
    if asked is None or adapter is None:
        find_adapter(model_type, encoder_decoder=kind)
    elif adapter.model_type not in ("", model_type):  # or of any architecture
        raise another_architecture(files.source, model_type, asked, adapter)
    elif kind is not None:
        check_kind(files.source, model_type, adapter, encoder_decoder=kind)


def _text_model(config: Mapping[str, Any]) -> str | None:
    """The model_type of the text model that a larger model holds, if it says so."""
    inner = config.get("text_config") or config.get("llm_config")
    model_type = inner.get("model_type") if isinstance(inner, dict) else None
    return model_type if isinstance(model_type, str) else None


def refuse_unnamed(files: CheckpointFiles) -> None:
    """Refuse a checkpoint of which nobody says what model it is.

    Raises:
        CheckpointError: it is one.
    """
    config = files.stored(CONFIG)
    unnamed = config is not None and not {"model_type", "auto_map"} & config.keys()
    if unnamed and files.model_type is None:
        raise CheckpointError(
            f"{files.source} does not say what model it is: {CONFIG} has no model_type",
            "name it: --model-class NAME (`beamgen list` shows the names)",
        )


def refuse_other_transformers(files: CheckpointFiles) -> None:
    """Refuse a checkpoint whose architecture the installed transformers lacks, or has wrong.

    Code of its own, where that may run, is tried.

    Raises:
        CheckpointError: it is one.
    """
    if files.model_type is None or files.trust_remote_code:
        return
    for adapter in adapters():
        if adapter.model_type == files.model_type and adapter.needs is not None:
            raise CheckpointError(
                f"{files.source} is a '{files.model_type}' checkpoint, and the transformers that "
                f"is installed has no such model"
                + (" that computes what was trained" if adapter.until else ""),
                "in an environment of its own: "
                f"pip install 'beamgen[export]' 'transformers=={adapter.needs}.*'",
            )


def crossing(source: str) -> CheckpointError:
    """The error to raise for a decoder that reads another sequence, of an encoder elsewhere."""
    return CheckpointError(
        f"{source} has cross-attention, and no encoder",
        "export the whole encoder-decoder, or a decoder without add_cross_attention",
    )


def refuse_encoder(files: CheckpointFiles, model_type: str) -> None:
    """Refuse the encoder of an encoder-decoder, saved without its decoder.

    Raises:
        CheckpointError: ``architectures`` names a class of such, as ``T5EncoderModel``.
    """
    wholes, _ = _wholes_and_decoders(model_type)
    named = (files.stored(CONFIG) or {}).get("architectures") or ()
    for each in named:
        if wholes and re.search("Encoder(?!Decoder)", str(each)):
            raise CheckpointError(
                f"{files.source} is an encoder alone ({each}), which writes nothing",
                f"export the checkpoint of a whole {wholes[0].class_names[0]}",
            )


def check_kind(
    source: str, model_type: str, adapter: DecoderAdapter, *, encoder_decoder: bool
) -> None:
    """Refuse an encoder-decoder for a decoder's adapter, and a decoder for an encoder-decoder's.

    Raises:
        CheckpointError: it is the other one.
    """
    if is_encoder_decoder(adapter) == encoder_decoder:
        return
    kinds = {True: "an encoder-decoder", False: "a decoder alone"}
    wholes, decoders = _wholes_and_decoders(model_type)
    own = wholes if encoder_decoder else decoders
    raise CheckpointError(
        f"{source} is {kinds[encoder_decoder]} ('{model_type}'), and the adapter "
        f"'{adapter.name}' is for {kinds[not encoder_decoder]}",
        "leave out --model-class, and export's --adapter, to take the one that config.json names"
        if own
        else f"export the checkpoint of a whole {adapter.class_names[0]}",
    )


def _wholes_and_decoders(model_type: str) -> tuple[list[DecoderAdapter], list[DecoderAdapter]]:
    """The adapters of a model_type: those of encoder-decoders, and those of decoders alone."""
    known = [each for each in adapters() if each.model_type == model_type]
    wholes = [each for each in known if is_encoder_decoder(each)]
    return wholes, [each for each in known if each not in wholes]


def another_architecture(
    source: str, model_type: str, asked: str, adapter: DecoderAdapter
) -> CheckpointError:
    """The error to raise for a checkpoint of another architecture than that asked for."""
    return CheckpointError(
        f"{source} is a '{model_type}' checkpoint, but {asked} is '{adapter.model_type}'",
        f"name a checkpoint of '{adapter.model_type}', or leave out --model-class to take this "
        "one's own architecture",
    )


def _with_config(
    source: str, folder: Path, revision: str | None, trust_remote_code: bool
) -> CheckpointFiles:
    _refuse_peft(source, folder)
    if (folder / _PACKAGE).is_file():
        raise CheckpointError(
            f"{source} is a beamgen package, not a checkpoint",
            "name the checkpoint that it was made of, which `beamgen inspect -m "
            f"{shlex.quote(source)} --no-load` shows",
        )
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"{source} holds no {CONFIG}", "pass the folder that save_pretrained wrote"
        )
    generation = folder / GENERATION_CONFIG
    if os.path.lexists(generation) and not generation.is_file():
        raise CheckpointError(
            f"{GENERATION_CONFIG} of {source} is no file, or a link to none",
            "download or save the checkpoint again",
        )
    config = _stored(folder / CONFIG) or {}
    check_stored(source, config, folder)
    model_type = _model_type(config, Path(source).name)
    return CheckpointFiles(source, folder, revision, trust_remote_code, model_type)


def _refuse_peft(source: str, folder: Path) -> None:
    """Refuse a folder of which transformers would load the LoRA's base, and the LoRA into it.

    Raises:
        CheckpointError: it is one.
    """
    if is_peft(folder):
        raise CheckpointError(
            f"{source} holds a LoRA, not a model",
            f"merge it into its base model: beamgen export --lora {shlex.quote(source)}",
        )
    if (folder / PEFT_CONFIG).is_file():
        raise CheckpointError(
            f"{source} holds a model and a LoRA, and does not say which of the two counts",
            f"move {PEFT_CONFIG} out of it for the model, or use the LoRA: "
            f"beamgen export --lora {shlex.quote(source)}",
        )


def _stored(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _model_type(config: Mapping[str, Any], name: str) -> str | None:
    """The architecture that a config names, by its class where there is no ``model_type``.

    Last of all a word of the folder's name counts; transformers takes any part of a path.

    Source: ``AutoConfig.from_pretrained``.
    """
    if "model_type" in config:
        return config["model_type"] if isinstance(config["model_type"], str) else None
    for named in config.get("architectures") or ():
        with contextlib.suppress(AdapterError):
            return find_adapter(str(named)).model_type
    types = [a.model_type for a in adapters() if re.search(rf"\b{a.model_type}\b", name)]
    return max(types, key=len, default=None)
