"""Which files of a folder are the tokenizer's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
CHAT_TEMPLATE = "chat_template.jinja"
CHAT_TEMPLATES = "additional_chat_templates"

#: Beside a vocabulary; none of them alone is a tokenizer.
_COMPANIONS = (SPECIAL_TOKENS_MAP, ADDED_TOKENS, CHAT_TEMPLATE, "chat_template.json")

#: What ``vocab_files_names`` of HF's tokenizer classes names, and other vocabularies that
#: they read. A test holds it together with the installed transformers.
VOCABULARIES = (
    "bpe.codes",
    "byte_maps.json",
    "dict.txt",
    "emoji.json",
    "entity_vocab.json",
    "merges.txt",
    "normalizer.json",
    "prophetnet.tokenizer",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "source.spm",
    "spiece.model",
    "spm.model",
    "spm_char.model",
    "target.spm",
    "target_vocab.json",
    "tekken.json",
    TOKENIZER,
    "tokenizer.model",
    "vocab-src.json",
    "vocab-tgt.json",
    "vocab.json",
    "vocab.txt",
    "word_pronunciation.json",
    "word_shape.json",
)

#: Names that vary: tiktoken's, and Mistral's ``tokenizer.model.v3``.
_PATTERNS = ("*.tiktoken", "tiktoken.model", "tokenizer.model.*")

#: By these a tokenizer is known to be there; the others are names that anything may have.
_TELLING = (
    TOKENIZER,
    TOKENIZER_CONFIG,
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer, be it one that loads or not."""
    return any((folder / name).is_file() for name in _TELLING)


def tokenizer_files(folder: Path) -> list[Path]:
    """The tokenizer's files that are there, as sorted paths relative to the folder.

    Vocabularies, configs and chat templates; no Python code, which is not the package's
    to run, and nothing of a processor.
    """
    named = {TOKENIZER_CONFIG, *_COMPANIONS, *VOCABULARIES, *_versioned(folder)}
    found = {folder / name for name in named}
    for pattern in (*_PATTERNS, f"{CHAT_TEMPLATES}/*.jinja"):
        found.update(folder.glob(pattern))
    return sorted(path.relative_to(folder) for path in found if path.is_file())


def read_json(path: Path) -> dict[str, Any]:
    """An object of JSON; empty where there is no such file.

    Raises:
        ValueError: it is damaged, or holds something else.
    """
    if not path.is_file():
        return {}
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return values


def _versioned(folder: Path) -> list[str]:
    """Names like ``tokenizer.4.0.0.json``, which the config lists."""
    try:
        names = read_json(folder / TOKENIZER_CONFIG).get("fast_tokenizer_files", [])
    except (OSError, ValueError, RecursionError):
        return []
    plain = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return [name for name in names if "/" not in name] if plain else []
