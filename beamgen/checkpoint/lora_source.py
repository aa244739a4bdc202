"""Finding a LoRA: a PEFT folder, a hub id, or an ``.onnx_adapter`` file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from beamgen.checkpoint.hub import download, is_hub_id
from beamgen.disk import local
from beamgen.errors import LoraError
from beamgen.lora.adapter_file import read_adapter
from beamgen.lora.peft_folder import CONFIG, read_peft
from beamgen.lora.slots import ADAPTER_SUFFIX, Lora

#: Of whole models.
_MODELS = ("model*.safetensors", "pytorch_model*.bin")

_NAME = re.compile(r"\w[\w.-]*")


def find_peft(source: str | os.PathLike[str]) -> Path:
    """The folder of a PEFT LoRA, downloaded where it is a hub id.

    Raises:
        LoraError: there is no such folder, or the hub cannot be reached.
    """
    name = os.fspath(source)
    folder = local(name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise LoraError(
            f"{name} is a file, not a PEFT folder", f"pass the folder that holds {CONFIG}"
        )
    if not is_hub_id(name):
        raise LoraError(f"there is no folder {name}", "check the path")
    return download(name, [CONFIG], weights="adapter_model", what="LoRA", refuse=LoraError)


def is_peft(source: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a LoRA and no model, be its base's config beside it."""
    folder = Path(source).expanduser()
    weights = (path for kind in _MODELS for path in folder.glob(kind))
    return (folder / CONFIG).is_file() and next(weights, None) is None


def origin(source: str | os.PathLike[str]) -> str:
    """Where a LoRA can be found later: the whole path of a folder or file, or a hub id."""
    path = local(source)
    return str(path.resolve()) if path.exists() else os.fspath(source)


def read_lora(source: str | os.PathLike[str]) -> Lora:
    """A LoRA for slots: from a PEFT folder, a hub id, or an ``.onnx_adapter`` file.

    Raises:
        LoraError: it cannot be found or read, or is more than slots can take.
    """
    path = local(source)
    if path.is_file() or (path.suffix == ADAPTER_SUFFIX and not path.exists()):
        return read_adapter(path)
    return read_peft(find_peft(source))


def lora_name(source: str | os.PathLike[str], name: str | None = None) -> str:
    """What a LoRA is called in a package: its folder's or file's name, unless one is given.

    Raises:
        LoraError: it would be no file name.
    """
    path = local(source)
    chosen = name
    if chosen is None:
        chosen = path.stem if path.suffix == ADAPTER_SUFFIX else path.resolve().name
    if not _NAME.fullmatch(chosen):
        raise LoraError(
            f"'{chosen}' cannot name a LoRA", "give --name letters, digits, '-', '_' and '.'"
        )
    return chosen
