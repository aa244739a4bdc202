"""How a checkpoint's weights were put into fewer bits, as its JSON says.

What can be brought back exactly by what the file itself holds is read, see ``dequantize``.
All other ways are refused before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beamgen.errors import CheckpointError

FIELD = "quantization_config"

#: ``config.json`` of the library compressed-tensors, before it was HF's field.
_OLD_FIELD = "compression_config"


def quantization_of(config: Mapping[str, Any]) -> str | None:
    """How weights are stored: ``bitsandbytes nf4``, ``fp4`` or ``int8``, ``fp8``, another's name.

    Args:
        config: a ``config.json``.

    Returns:
        None where they are plain.
    """
    values = config.get(FIELD) or config.get(_OLD_FIELD)
    if not isinstance(values, Mapping):
        return None
    method = str(values.get("quant_method") or "")
    if method == "bitsandbytes" or (not method and _bits(values)):
        return f"bitsandbytes {_bits(values) or 'in an unknown form'}"
    if method == "fp8" and not values.get("weight_block_size"):
        return "fp8 in another form than blocks"
    return method or "an unnamed method"


def check_quantization(source: str, config: Mapping[str, Any], folder: Path) -> None:
    """Refuse weights in a form that beamgen does not read.

    Args:
        source: what the user named.
        config: its ``config.json``.
        folder: where that lies.

    Raises:
        CheckpointError: with the method's name.
    """
    method, where = quantization_of(config), f"{FIELD} in config.json"
    beside = next((name for name in _FILES if (folder / name).is_file()), None)
    if method is None and beside is not None:
        method, where = _FILES[beside], beside
    if method is not None and method not in READ:
        raise CheckpointError(
            f"the weights of {source} are quantized by {method} ({where}), which is not read here",
            "export the checkpoint that it was made from; --precision int4 or int8 rounds that",
        )


#: Files that older libraries wrote instead of the field.
_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq"}

_BITSANDBYTES = ("bitsandbytes nf4", "bitsandbytes fp4", "bitsandbytes int8")

#: What is read.
READ = frozenset({*_BITSANDBYTES, "fp8"})


def _bits(values: Mapping[str, Any]) -> str | None:
    """What bitsandbytes was told to make."""
    if values.get("load_in_4bit") or values.get("_load_in_4bit"):
        return str(values.get("bnb_4bit_quant_type") or "fp4")
    return "int8" if values.get("load_in_8bit") or values.get("_load_in_8bit") else None
