"""SentencePiece models beside a vocabulary of their own, which no ``tokenizer.json`` can hold.

Source: ``MarianTokenizer`` and ``M2M100Tokenizer`` of transformers 4.57.6.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from beamgen.tokenizer.config import OtherKindError, TokenizerConfig, read_config
from beamgen.tokenizer.languages import Languages
from beamgen.tokenizer.slow import SlowTokenizer
from beamgen.tokenizer.special import SpecialTokens, special_tokens

_UNDERLINE = "▁"

#: Codes of the languages that a class puts behind its vocabulary, in their order.
_CODES = {
    "m2m100": (
        "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl "
        "gu ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml "
        "mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl "
        "tn tr uk ur uz vi wo xh yi yo zh zu"
    ),
    "wmt21": "en ha is ja cs ru zh de",
}


class TwoModels:
    """See ``Words``: a model for each of two languages.

    Attributes:
        source: the model that cuts texts, SentencePiece's.
        target: the one that cuts translations, and joins what was cut.
        vocab: ids by piece.
        target_vocab: those of translations; the same unless they are kept apart.
        unknown: how the token is spelled that stands for all others.
        has_codes: a ``>>code<<`` that a text begins with is a piece.
    """

    has_codes = True

    def __init__(self, folder: Path, values: Mapping[str, Any], unknown: str, eos: str) -> None:
        """Read models and vocabularies.

        Args:
            folder: where they stand.
            values: the class's arguments.
            unknown: how the unknown token is spelled.
            eos: how the token behind every text is spelled.

        Raises:
            ModuleNotFoundError: sentencepiece is not installed.
            OSError, ValueError: a file is missing or damaged.
        """
        self.source, self.target = (_model(folder / f"{side}.spm") for side in ("source", "target"))
        self.vocab: dict[str, int] = _read_vocab(folder / "vocab.json", unknown)
        self.target_vocab = self.vocab
        prefixes = [
            token for token in self.vocab if token.startswith(">>") and token.endswith("<<")
        ]
        if values.get("separate_vocabs"):
            self.target_vocab = _read_vocab(folder / "target_vocab.json", unknown)
            prefixes = []
        self.languages = Languages(prefixes=prefixes)
        self._spelled = {i: token for token, i in self.target_vocab.items()}
        self.unknown, self._eos = unknown, eos

    def pieces(self, text: str) -> list[str]:
        """The source's model cuts it; a language that the text begins with is a piece."""
        return _pieces_behind_a_code(self.source, text)

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """By the vocabulary."""
        unknown = self.vocab[self.unknown]
        return [self.vocab.get(piece, unknown) for piece in pieces]

    def around(self, ids: list[int], added: Mapping[str, int], src_lang: str | None) -> list[int]:
        """An EOS goes behind every text."""
        del src_lang
        return [*ids, added[self._eos]]

    def target_pieces(self, text: str) -> list[str]:
        """The target's model cuts it."""
        return _pieces_behind_a_code(self.target, text)

    def target_ids(self, pieces: Sequence[str]) -> list[int]:
        """By the target's vocabulary."""
        unknown = self.target_vocab[self.unknown]
        return [self.target_vocab.get(piece, unknown) for piece in pieces]

    def spelling(self, token: int) -> str:
        """By the target's vocabulary."""
        return self._spelled.get(token, self.unknown)

    def joined(self, pieces: Sequence[str], special: frozenset[str]) -> str:
        """The target's model joins them; a space goes behind special ones."""
        text = _joined(self.target, pieces, special, " ")
        return text.replace(_UNDERLINE, " ").strip()


class OneModel:
    """See ``Words``: one model for all languages, whose tokens stand behind its vocabulary.

    Attributes:
        source, target: the model, SentencePiece's.
        target_vocab: ids by piece, the languages' tokens among them.
        size: of the vocabulary without those.
        unknown: how the token is spelled that stands for all others.
        has_codes: a text does not begin with a language.
    """

    has_codes = False

    def __init__(self, folder: Path, values: Mapping[str, Any], unknown: str, eos: str) -> None:
        """Read the model and the vocabulary.

        Args:
            folder: where they stand.
            values: the class's arguments.
            unknown: how the unknown token is spelled.
            eos: how the token behind every text is spelled.

        Raises:
            ModuleNotFoundError: sentencepiece is not installed.
            OtherKindError: it has languages of another kind.
            OSError, ValueError: a file is missing or damaged.
        """
        kind = values.get("language_codes", "m2m100")
        if kind not in _CODES:
            raise OtherKindError(f"its language_codes are {kind!r:.60}")
        self.source = self.target = _model(folder / "sentencepiece.bpe.model")
        self.target_vocab: dict[str, int] = _read_vocab(folder / "vocab.json", unknown)
        self.size = len(self.target_vocab)
        self._spelled = {i: token for token, i in self.target_vocab.items()}
        codes = {code: self.size + i for i, code in enumerate(_CODES[kind].split())}
        tokens = {f"__{code}__": token for code, token in codes.items()}
        self.target_vocab |= tokens
        self._spelled |= {i: token for token, i in tokens.items()}
        self.unknown, self._eos = unknown, eos
        source = _language(values, "src_lang", codes, "en")
        target = _language(values, "tgt_lang", codes, source)
        self.languages = Languages(codes, source, target)

    @property
    def vocab(self) -> dict[str, int]:
        """Languages are added tokens, where the config lists them."""
        return {self.spelling(i): i for i in range(self.size)}

    def pieces(self, text: str) -> list[str]:
        """The model cuts it."""
        found: list[str] = self.source.encode(text, out_type=str)
        return found

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """By the vocabulary and the languages."""
        unknown = self.target_vocab[self.unknown]
        return [self.target_vocab.get(piece, unknown) for piece in pieces]

    def around(self, ids: list[int], added: Mapping[str, int], src_lang: str | None) -> list[int]:
        """The language goes before every text, and an EOS behind it."""
        return replace(self.languages, eos_token_id=added[self._eos]).around(ids, src_lang)

    target_pieces, target_ids = pieces, ids

    def spelling(self, token: int) -> str:
        """By the vocabulary and the languages."""
        return self._spelled.get(token, self.unknown)

    def joined(self, pieces: Sequence[str], special: frozenset[str]) -> str:
        """The model joins them, special ones apart."""
        return _joined(self.target, pieces, special, "").strip()


_SPECIAL = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>"}

#: HF's classes of this kind, and the special tokens that they have.
_KINDS: dict[str, tuple[Callable[..., Any], Mapping[str, str]]] = {
    "MarianTokenizer": (TwoModels, _SPECIAL),
    "M2M100Tokenizer": (OneModel, {**_SPECIAL, "bos_token": "<s>", "sep_token": "</s>"}),
}
CLASSES = tuple(_KINDS)


def read_spm(folder: Path, name: str) -> SlowTokenizer:
    """Read a tokenizer of one of ``CLASSES``.

    Raises:
        OtherKindError: it is of another kind.
        ModuleNotFoundError: sentencepiece is not installed.
        OSError, ValueError: a file is missing or damaged.
    """
    kind, tokens = _KINDS[name]
    config: TokenizerConfig = read_config(folder, name, {})
    values = {**tokens, **config.values}
    if values.get("sp_model_kwargs"):
        raise OtherKindError("its config has sp_model_kwargs")
    special: SpecialTokens = special_tokens(values, of_version_5=config.of_version_5)
    spelled = (special.spelling(f"{key}_token") or "" for key in ("unk", "eos"))
    words = kind(folder, values, *spelled)
    size = getattr(words, "size", None)
    return SlowTokenizer(words, folder, replace(config, values=values), special, size=size)


def _model(path: Path) -> Any:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor()
    model.Load(str(path))
    return model


def _read_vocab(path: Path, unknown: str) -> dict[str, int]:
    vocab = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(vocab, dict) or unknown not in vocab:
        raise ValueError(f"{path.name} has no token {unknown!r:.60} for what is unknown")
    return vocab


def _language(values: Mapping[str, Any], key: str, codes: Mapping[str, int], default: str) -> str:
    """The language that the config names, or the default.

    Raises:
        OtherKindError: it names one that there is not.
    """
    named = values.get(key)
    if named is None:
        return default
    if named not in codes:
        raise OtherKindError(f"its {key} is {named!r:.60}")
    return str(named)


def _pieces_behind_a_code(model: Any, text: str) -> list[str]:
    """The pieces of a text, and before them the ``>>code<<`` that it begins with."""
    code = []
    if text.startswith(">>") and (end := text.find("<<")) != -1:
        code, text = [text[: end + 2]], text[end + 2 :]
    return [*code, *model.encode(text, out_type=str)]


def _joined(model: Any, pieces: Sequence[str], special: frozenset[str], behind: str) -> str:
    """What a model makes of the pieces between special ones, and those as they are spelled."""
    text = ""
    some: list[str] = []
    for piece in pieces:
        if piece in special:
            text += model.decode(some) + piece + behind
            some = []
        else:
            some.append(piece)
    joined: str = text + model.decode(some)
    return joined
