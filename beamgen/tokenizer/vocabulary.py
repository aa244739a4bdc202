"""What each token writes: its bytes, for constraints, and its text, for stop strings.

Bytes are exact: tokens in a row write what their bytes are in a row, for the kinds of tokenizer
that are known here. Others are refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from beamgen.errors import SettingError
from beamgen.settings.vocabulary import Vocabulary
from beamgen.tokenizer.moses import MosesWords
from beamgen.tokenizer.slow import SlowTokenizer
from beamgen.tokenizer.tokenizer import Tokenizer

_SPACE = "▁"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")

#: The end of a word among the pieces of Moses' words.
_END = "</w>"
#: Of Moses' words those that its rules write as they stand, with one space between them.
_PLAIN_WORD = re.compile(r"[A-Za-z0-9]*")

#: What stands before a token, so that it is read as within a text.
_BEFORE = "abcdef"


def vocabulary_of(tokenizer: Tokenizer, vocab_size: int) -> Vocabulary:
    """The bytes that each token adds to a text that has begun.

    Args:
        tokenizer: of a kind that writes its tokens one behind the other.
        vocab_size: ids that the model has.

    Raises:
        SettingError: it is of another kind.
    """
    if tokenizer.clean_up_tokenization_spaces:
        raise _other_kind(tokenizer, "takes spaces out of what its tokens write")
    if isinstance(tokenizer, SlowTokenizer) and isinstance(tokenizer.words, MosesWords):
        return _of_moses(tokenizer, vocab_size)
    if tokenizer.backend is None:
        raise _other_kind(tokenizer, "makes text of tokens in code of its own")
    read = json.loads(tokenizer.backend.to_str())
    bytes_of = _bytes_of(read)
    if bytes_of is None:
        raise _other_kind(tokenizer, "is neither a byte-level BPE nor SentencePiece's")
    special = tokenizer.special_tokens
    texts = [
        None if token in special or spelled is None else bytes_of(spelled)
        for token, spelled in _spelled(tokenizer)
    ]
    return Vocabulary(tokenizer.name, texts, vocab_size)


def token_texts(tokenizer: Tokenizer) -> list[str]:
    """What each token adds to a text, as HF's stop strings read it.

    Part of a character is a mark, U+FFFD, and special tokens are as they are spelled.

    Source: ``StopStringCriteria.clean_tokenizer_vocab``.
    """
    before = [
        tokenizer.convert_ids_to_tokens(token) or ""
        for token in tokenizer.encode(_BEFORE, add_special_tokens=False)
    ]
    texts = []
    for _, spelled in _spelled(tokenizer):
        text = tokenizer.joined([*before, spelled]) if spelled is not None else ""
        texts.append(text[text.index(_BEFORE) + len(_BEFORE) :] if spelled is not None else "")
    return texts


def _spelled(tokenizer: Tokenizer) -> Iterator[tuple[int, str | None]]:
    """Every id with how it is spelled; ids need not be without gaps."""
    found, token = 0, 0
    size = len(tokenizer)
    while found < size and token < 2 * size + 1024:
        spelled = tokenizer.convert_ids_to_tokens(token)
        found += spelled is not None
        yield token, spelled
        token += 1


def _other_kind(tokenizer: Tokenizer, reason: str) -> SettingError:
    return SettingError(
        f"no pattern can be held against what the tokenizer {tokenizer.name} writes: it {reason}",
        "give whole answers instead: catalogue=[...], --catalogue FILE",
    )


def _bytes_of(read: Mapping[str, Any]) -> Callable[[str], bytes] | None:
    """How a token's spelling becomes bytes, by the decoder of a ``tokenizer.json``."""
    decoder = read.get("decoder") or {}
    steps = decoder.get("decoders", [decoder])
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return _byte_level
    if kinds == ["Metaspace"] and decoder.get("replacement") == _SPACE:
        return _sentence_piece if not read["model"].get("byte_fallback") else None
    replaces = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    # a strip takes away spaces that the whole text begins with, and a text has begun
    strips = all(
        step.get("stop") == 0 and step.get("content") == " "
        for step in steps
        if step.get("type") == "Strip"
    )
    if replaces in steps and strips and set(kinds) <= {"Replace", "ByteFallback", "Fuse", "Strip"}:
        return _with_bytes if "ByteFallback" in kinds else _sentence_piece
    return None


def _sentence_piece(spelled: str) -> bytes:
    return spelled.replace(_SPACE, " ").encode()


def _with_bytes(spelled: str) -> bytes:
    byte = _BYTE.fullmatch(spelled)
    return bytes([int(byte[1], 16)]) if byte else _sentence_piece(spelled)


def _byte_level(spelled: str) -> bytes:
    if all(char in _BYTES for char in spelled):
        return bytes(_BYTES[char] for char in spelled)
    return spelled.encode()


def _byte_characters() -> dict[str, int]:
    """The characters that stand for bytes.

    Source: ``bytes_to_unicode`` of GPT-2.
    """
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTES = _byte_characters()


def _of_moses(tokenizer: SlowTokenizer, vocab_size: int) -> Vocabulary:
    """Words of letters and digits, which Moses' rules write as they stand."""
    special = tokenizer.special_tokens
    return Vocabulary(
        tokenizer.name,
        [
            None if token in special or spelled is None else _plain(spelled)
            for token, spelled in _spelled(tokenizer)
        ],
        vocab_size,
        behind=b" ",
        only="words of ASCII letters and digits alone, for Moses' rules put spaces around "
        "other characters as those beside them ask",
    )


def _plain(spelled: str) -> bytes | None:
    """The bytes of a piece, a space where a word ends; None where a rule may change them."""
    piece = spelled.removesuffix(_END)
    if not piece or not _PLAIN_WORD.fullmatch(piece):
        return None
    return (piece + " " if spelled.endswith(_END) else piece).encode()
