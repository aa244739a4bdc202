"""What each field of ``beamgen.json`` has to be for the rest of beamgen to read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from types import EllipsisType
from typing import Any

#: A type; a list of one shape; a table of shapes, with ``...`` for names that are not listed
#: and ``?`` behind those that may be missing; or a tuple of alternatives.
Shape = type | list["Shape"] | Mapping[str | EllipsisType, "Shape"] | tuple["Shape", ...]

_NOTHING = type(None)
_WORD, _COUNT, _NUMBER = (str, _NOTHING), (int, _NOTHING), (float, _NOTHING)
_CACHE: Shape = {
    "num_layers": int,
    "num_kv_heads": int,
    "head_dim": int,
    "value_dim": _COUNT,
    "states?": [[int]],
}
_TASKS: Shape = {
    "languages": {...: int},
    "language_names": {...: str},
    "tasks": {...: int},
    "no_timestamps": _COUNT,
    "forced": [(int, _NOTHING)],
    "multilingual": bool,
    "language": _WORD,
    "task": _WORD,
}
_ENCODER: Shape = {
    "decoder_start_token_id": int,
    "max_positions": _COUNT,
    "prepends_start?": bool,
    "tasks?": (_TASKS, _NOTHING),
}
_PORT: Shape = {"name": str, "dtype": str, "shape": list}
_VERDICT: Shape = ({"verdict": str, "cases?": int, "transformers?": str}, _NOTHING)
_QUALITY: Shape = {
    "text": _WORD,
    "tokens": int,
    "perplexity_fp32": _NUMBER,
    "perplexity": _NUMBER,
    "top1_agreement": _NUMBER,
}

_DECODER: Shape = {"file": str, "sha256": str, "producer": str, "external_data": {...: str}}

_FIELDS: Mapping[str, Shape] = {
    "adapter": str,
    "backend": str,
    "source": {
        "kind": str,
        "model": str,
        "revision": _WORD,
        "dtype": str,
        "lora": _WORD,
        "decoder?": _DECODER,
    },
    "dtype": str,
    "vocab_size": int,
    "limits": {"max_positions": int, "recompute_boundary": _COUNT, "attention_window": _COUNT},
    "cache": (_CACHE, _NOTHING),
    "encoder": (_ENCODER, _NOTHING),
    "counts_padding": (bool, _NOTHING),
    "search": dict,
    "inputs": [_PORT],
    "outputs": [_PORT],
    "versions": {"beamgen": str, "transformers": str, ...: str},
    "precision": {
        "name": str,
        "weights": str,
        "zero_point": _COUNT,
        "block_size": _COUNT,
        "activations": _WORD,
        "accuracy_level": _COUNT,
        "saturates": (bool, _NOTHING),
        "quantized": [str],
        "in_bytes?": [str],
        "bytes_weights?": _WORD,
        "noise": _NUMBER,
        "quality": (_QUALITY, _NOTHING),
    },
    "lora_slots": [{"module": str, "in_features": int, "out_features": int, "shared?": bool}],
    "loras": {...: {"parity": _VERDICT, "source": _WORD, "base": _WORD}},
    "parity": _VERDICT,
    "files": {...: {"sha256": str, "bytes": int}},
}

#: Fields that beamgen 0.1 did not write, or that not every package has.
_LATER = {"cache", "encoder", "counts_padding"}


def check_fields(values: Mapping[str, Any]) -> None:
    """Refuse a manifest whose fields are of another shape, or that names files elsewhere.

    Raises:
        ValueError: the reason, in one line.
    """
    check_shapes(values, [name for name in _FIELDS if name in values or name not in _LATER])
    if values["vocab_size"] < 1:
        raise ValueError(f"vocab_size is {values['vocab_size']}")
    for file in values["files"]:
        if not _lies_within(file):
            raise ValueError(f"files names {file!r:.60}, which is no place in the folder")


def check_shapes(values: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse a table whose fields of a manifest are missing, or of another shape.

    Raises:
        ValueError: the reason, in one line.
    """
    for name in names:
        if name not in values:
            raise ValueError(f"it has no {name}")
        if not _fits(values[name], _FIELDS[name]):
            raise ValueError(f"{name} is not what it has to be")


def _fits(value: Any, shape: Shape) -> bool:
    """Whether a JSON value has a shape; whole numbers are those that 64 bits hold."""
    if isinstance(shape, tuple):
        return any(_fits(value, each) for each in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(each, shape[0]) for each in value)
    if isinstance(shape, Mapping):
        return isinstance(value, dict) and _fits_table(value, shape)
    if isinstance(value, int) and not isinstance(value, bool):
        return shape in (int, float, object) and abs(value) < 2**63
    return isinstance(value, shape) and not (shape is int and isinstance(value, bool))


def _fits_table(values: Mapping[str, Any], shapes: Mapping[str | EllipsisType, Shape]) -> bool:
    """Whether a table has what it must, and each value its shape."""
    named = {
        str(name).removesuffix("?"): shape for name, shape in shapes.items() if name is not ...
    }
    needed = {name for name in shapes if name is not ... and not str(name).endswith("?")}
    rest = shapes.get(..., object)
    return needed <= values.keys() and all(
        _fits(value, named.get(name, rest)) for name, value in values.items()
    )


def _lies_within(name: str) -> bool:
    """Whether a file's name leads to a place below the folder, on every system."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    return (
        name.isprintable()
        and bool(posix.parts)
        and not (posix.is_absolute() or windows.anchor or "\\" in name)
        and ".." not in posix.parts
    )
