"""The steps of a tokenizer around its merges: normalizer, pre-tokenizer and decoder.

Each is read from the tokenizer's own JSON; a step, or a setting of one, that is not
written here is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beamgen.formats.text.refusal import refuse

if TYPE_CHECKING:
    from beamgen.tokenizer.tokenizer import Tokenizer

Json = Mapping[str, Any]

#: What stands for a space in vocabularies after SentencePiece's manner.
BLANK = "\N{LOWER ONE EIGHTH BLOCK}"

_SPACE = ord(" ")


@dataclass(frozen=True)
class Prefix:
    """A character that is put before each segment.

    Attributes:
        unit: its code point.
        unless: not before a segment that begins with one of these.
        first_only: only at the start of the text.
    """

    unit: int
    unless: Sequence[int]
    first_only: bool = False


@dataclass(frozen=True)
class Splitting:
    """How a segment becomes pieces.

    Attributes:
        functions: names in ``beamgen.formats.text.pieces``, in order.
        byte_level: symbols are bytes; else characters, and bytes where there is no such.
        blanks: a space counts as ``BLANK``.
    """

    functions: Sequence[str]
    byte_level: bool
    blanks: bool


@dataclass(frozen=True)
class Decoder:
    """How ids become text.

    Attributes:
        byte_level: as the ``ByteLevel`` decoder, else as ``ByteFallback``.
        strip_first_space: a space at the text's start goes.
    """

    byte_level: bool
    strip_first_space: bool = False

    def spell(self, backend: Any) -> tuple[list[bytes], list[int]]:
        """What each id is written as, and ids that stand for one byte."""
        special = {
            token.content for token in backend.get_added_tokens_decoder().values() if token.special
        }
        spelled: list[bytes] = []
        single = []
        for token in range(_size(backend)):
            text = backend.id_to_token(token)
            if text is None or text in special:
                spelled.append(b"")
            elif self.byte_level:
                spelled.append(_from_characters(text))
            elif (byte := byte_of(text)) is not None:
                spelled.append(bytes([byte]))
                single.append(token)
            else:
                spelled.append(text.replace(BLANK, " ").encode())
        return spelled, single


def read_normalizer(tokenizer: Tokenizer, step: Json | None) -> tuple[Prefix | None, bool]:
    """The prefix it puts, and whether it turns spaces into ``BLANK``."""
    prefix, blanks = None, False
    for part in _parts(step, "normalizers"):
        match part:
            case {"type": "Prepend", "prepend": text} if text == BLANK and not blanks:
                prefix = Prefix(ord(BLANK), ())
            case {"type": "Replace", "pattern": {"String": " "}, "content": text} if text == BLANK:
                blanks = True
            case {"type": "Replace", "pattern": pattern}:
                raise refuse(tokenizer, f"its normalizer replaces {pattern}")
            case _:
                raise refuse(tokenizer, f"its normalizer is {part['type']}")
    if prefix is not None and not blanks:
        raise refuse(tokenizer, "its normalizer prepends, and replaces no spaces")
    return prefix, blanks


def read_splits(
    tokenizer: Tokenizer, step: Json | None, prefix: Prefix | None, blanks: bool
) -> tuple[Prefix | None, Splitting]:
    """The functions that split, and the prefix put by them or by the normalizer."""
    from beamgen.formats.text.pieces import PATTERNS

    functions: list[str] = []
    byte_level = False
    parts = _parts(step, "pretokenizers")
    for part in parts:
        kind = part["type"]
        if byte_level or (blanks and kind == "ByteLevel"):
            raise refuse(tokenizer, f"its pre-tokenizer has {kind} among other steps")
        if kind == "ByteLevel":
            byte_level = True
            if part["add_prefix_space"]:
                if len(parts) > 1:
                    raise refuse(tokenizer, "its ByteLevel adds a prefix space to every piece")
                prefix = Prefix(_SPACE, (_SPACE,))
            if part.get("use_regex", True):
                functions.append("split_words")
        elif kind == "Metaspace":
            if part["replacement"] != BLANK or len(parts) > 1 or prefix is not None:
                raise refuse(tokenizer, f"its pre-tokenizer is {dict(part)} among other steps")
            scheme = part.get("prepend_scheme", "always")
            blanks = True
            if scheme != "never":
                prefix = Prefix(ord(BLANK), (_SPACE, ord(BLANK)), scheme == "first")
            if part.get("split", True):
                functions.append("before_each_blank")
        elif kind == "Split":
            functions += _split(tokenizer, part, PATTERNS, blanks)
        elif kind == "Digits":
            functions.append("digits_alone" if part["individual_digits"] else "digits_together")
        else:
            raise refuse(tokenizer, f"its pre-tokenizer is {kind}")
    if not byte_level and not blanks:
        raise refuse(tokenizer, "it neither splits text into bytes nor turns spaces into blanks")
    return prefix, Splitting(tuple(functions), byte_level, blanks)


def _split(tokenizer: Tokenizer, part: Json, known: Mapping[str, str], blanks: bool) -> list[str]:
    match part["pattern"]:
        case {"String": " "} if blanks:
            return []  # there are none left
        case {"Regex": pattern} if pattern in known:
            if part["behavior"] == "Isolated" and not part["invert"]:
                return [known[pattern]]
            # all is matched, so that nothing stands between matches
            if part["behavior"] == "Removed" and part["invert"]:
                return [known[pattern]]
            raise refuse(tokenizer, f"its Split is {part['behavior']}, invert {part['invert']}")
        case {"Regex": pattern}:
            raise refuse(tokenizer, f"its pre-tokenizer splits by another pattern: {pattern}")
        case pattern:
            raise refuse(tokenizer, f"its pre-tokenizer splits by {pattern}")


def read_decoder(tokenizer: Tokenizer, step: Json | None) -> Decoder:
    """Which of the two decoders it is."""
    parts = _parts(step, "decoders")
    kinds = [part["type"] for part in parts]
    if kinds == ["ByteLevel"]:
        return Decoder(byte_level=True)
    match parts:
        case [
            {"type": "Replace", "pattern": {"String": pattern}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            *rest,
        ] if pattern == BLANK:
            if not rest:
                return Decoder(byte_level=False)
            if rest == [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]:
                return Decoder(byte_level=False, strip_first_space=True)
    raise refuse(tokenizer, f"its decoder is {' + '.join(kinds) or 'missing'}")


def byte_of(token: str) -> int | None:
    """The byte that ``<0x41>`` stands for. Source: ``ByteFallback`` of tokenizers."""
    if len(token.encode()) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return int(token[3:5], 16)
        except ValueError:
            return None
    return None


def byte_characters() -> dict[str, int]:
    """Which character stands for which byte. Source: ``bytes_char`` of tokenizers."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {
        chr(256 + n): byte for n, byte in enumerate(hidden)
    }


_BYTES = byte_characters()


def _from_characters(token: str) -> bytes:
    """A token of other characters, such as an added one, is taken as it is."""
    if all(character in _BYTES for character in token):
        return bytes(_BYTES[character] for character in token)
    return token.encode()


def _size(backend: Any) -> int:
    vocab: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    return max(vocab.values()) + 1


def _parts(step: Json | None, inner: str) -> list[Json]:
    """A step, or those of a sequence, sequences in it too."""
    if step is None:
        return []
    if step["type"] != "Sequence":
        return [step]
    return [part for each in step[inner] for part in _parts(each, inner)]
