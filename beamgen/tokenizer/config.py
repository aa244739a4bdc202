"""What ``tokenizer_config.json`` and its companions say, read as HF's ``from_pretrained`` does.

Source: ``PreTrainedTokenizerBase._from_pretrained`` of transformers 4.57.6; for files that
transformers 5 wrote, that of 5.24.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.tokenizer.files import (
    ADDED_TOKENS,
    SPECIAL_TOKENS_MAP,
    TOKENIZER_CONFIG,
    read_json,
)

if TYPE_CHECKING:
    from tokenizers import AddedToken

NAMED = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
ADDITIONAL = "additional_special_tokens"
EXTRA = "extra_special_tokens"

#: With these HF builds a tokenizer otherwise than from its files alone.
_UNUSUAL = ("fast_tokenizer_files", "fix_mistral_regex", "from_slow", "init_inputs")


class OtherKindError(Exception):
    """A tokenizer that transformers alone reads, with the reason."""


@dataclass(frozen=True)
class TokenizerConfig:
    """The arguments of a tokenizer class.

    Attributes:
        class_name: HF's, without ``Fast``.
        values: ``tokenizer_config.json``, its tokens as ``AddedToken`` where flags are known.
        added_tokens: by id; those that the config or older files list.
        of_version_5: whether transformers 5 wrote it, whose classes leave a saved
            ``tokenizer.json`` as it is.
    """

    class_name: str
    values: Mapping[str, Any]
    added_tokens: Mapping[int, AddedToken]
    of_version_5: bool


def class_name(folder: Path, *, trust_remote_code: bool) -> str:
    """Which of HF's classes a tokenizer is of, without ``Fast``.

    Raises:
        OtherKindError: its files do not say, or it is Python code that may run.
        ValueError: a file is damaged.

    Source: ``AutoTokenizer.from_pretrained``.
    """
    config = read_json(folder / TOKENIZER_CONFIG)
    if config.get("auto_map") and trust_remote_code:
        raise OtherKindError("it is Python code of the checkpoint")
    named = config.get("tokenizer_class") or read_json(folder / "config.json").get(
        "tokenizer_class"
    )
    if not isinstance(named, str):
        raise OtherKindError("its files name no tokenizer_class")
    return named.removesuffix("Fast")


def read_config(folder: Path, name: str, stored: Mapping[int, AddedToken]) -> TokenizerConfig:
    """Read the config of a class.

    Args:
        folder: its files.
        name: the class, as ``class_name`` gives it.
        stored: added tokens of its ``tokenizer.json`` by id.

    Raises:
        OtherKindError: it says what only transformers does.
        ValueError, TypeError: a file is damaged.
    """
    values = _plain_values(folder)
    unusual = [key for key in _UNUSUAL if values.get(key)]
    if "tokenizer_file" in values:
        unusual.append("tokenizer_file")
    if unusual:
        raise OtherKindError(f"its config has {unusual[0]}")
    of_version_5 = isinstance(values.get("backend"), str) or name == "TokenizersBackend"
    if "added_tokens_decoder" in values:
        added = {int(i): _added(token) for i, token in values["added_tokens_decoder"].items()}
    else:
        added = dict(stored)
        values = _with_older_files(folder, values)
    values = {key: _token(value) for key, value in values.items()}
    by_content = {str(token): token for token in added.values()}
    for key in NAMED:
        if isinstance(values.get(key), str):
            values[key] = by_content.get(values[key], values[key])
    return TokenizerConfig(name, values, added, of_version_5)


def _plain_values(folder: Path) -> dict[str, Any]:
    values = read_json(folder / TOKENIZER_CONFIG)
    values.pop("tokenizer_class", None)
    if isinstance(values.get(EXTRA), list):  # version 5's word for the additional ones
        extra = values.pop(EXTRA)
        values[ADDITIONAL] = [*(values.get(ADDITIONAL) or []), *extra]
    return values


def _with_older_files(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """With what ``special_tokens_map.json`` says, where the config lists no added tokens."""
    if (folder / ADDED_TOKENS).is_file():
        raise OtherKindError(f"its added tokens stand in {ADDED_TOKENS} alone")
    for key, value in read_json(folder / SPECIAL_TOKENS_MAP).items():
        if key == ADDITIONAL and isinstance(value, list):
            tokens = list(values.get(ADDITIONAL) or [])
            for token in value:
                made = _special(token)
                if made not in tokens:
                    tokens.append(made)
            values[key] = tokens
        else:
            values[key] = _special(value)
    return values


def _special(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return _added({**value, "special": True})


def _added(value: Any) -> AddedToken:
    from tokenizers import AddedToken

    if isinstance(value, AddedToken):
        return value
    if not isinstance(value, dict):
        raise TypeError(f"an added token is {type(value).__name__}, not an object")
    return AddedToken(**{key: flag for key, flag in value.items() if key != "__type"})


def _token(value: Any) -> Any:
    if isinstance(value, dict) and value.get("__type") == "AddedToken":
        return _added(value)
    if isinstance(value, list):
        return [_token(part) for part in value]
    if isinstance(value, dict):
        return {key: _token(part) for key, part in value.items()}
    return value
