"""Moses words, cut into pieces by byte-pair merges that know where a word ends.

Source: ``BioGptTokenizer`` of transformers 4.57.6.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from beamgen.tokenizer.config import OtherKindError, read_config
from beamgen.tokenizer.languages import NO_LANGUAGES
from beamgen.tokenizer.slow import SlowTokenizer
from beamgen.tokenizer.special import special_tokens

#: HF's classes of this kind.
CLASSES = ("BioGptTokenizer",)

_VOCAB, _MERGES = "vocab.json", "merges.txt"
#: The end of a word, and a character that no merge knows: no symbol holds a space.
_END, _UNKNOWN = "</w>", " "
_DEFAULTS = {
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
}


class MosesWords:
    """See ``Words``; one vocabulary is for both languages."""

    languages = NO_LANGUAGES

    def __init__(self, folder: Path, unknown: str, separator: str) -> None:
        """Read the vocabulary and the merges.

        Args:
            folder: where they stand.
            unknown: how the unknown token is spelled.
            separator: how the token before every text is spelled.

        Raises:
            ModuleNotFoundError: sacremoses is not installed.
            OSError, ValueError: a file is missing or damaged.
        """
        import sacremoses

        self._words = sacremoses.MosesTokenizer(lang="en")
        self._detokenizer = sacremoses.MosesDetokenizer(lang="en")
        self.vocab: dict[str, int] = json.loads((folder / _VOCAB).read_text(encoding="utf-8"))
        self._spelled: dict[int, str] = {i: token for token, i in self.vocab.items()}
        self._unknown, self._separator = unknown, separator
        self._merged = _pieces(folder, self.vocab)

    def pieces(self, text: str) -> list[str]:
        """The merged symbols of each word."""
        words = self._words.tokenize(
            text, aggressive_dash_splits=True, return_str=False, escape=True
        )
        return [piece for word in words if word for piece in self._merged(word)]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """By the vocabulary."""
        unknown = self.vocab[self._unknown]
        return [self.vocab.get(piece, unknown) for piece in pieces]

    def around(self, ids: list[int], added: Mapping[str, int], src_lang: str | None) -> list[int]:
        """A separator goes before every text."""
        del src_lang
        return [added[self._separator], *ids]

    target_pieces, target_ids = pieces, ids

    def spelling(self, token: int) -> str:
        """By the vocabulary."""
        return self._spelled.get(token, self._unknown)

    def joined(self, pieces: Sequence[str], special: frozenset[str]) -> str:
        """Words become text as Moses' rules have it; special tokens are words, too."""
        words = "".join(piece.replace(_END, " ") for piece in pieces).split()
        text: str = self._detokenizer.detokenize(words)
        return text


def read_moses(folder: Path, name: str) -> SlowTokenizer:
    """Read a tokenizer of one of ``CLASSES``.

    Raises:
        OtherKindError: it is of another kind.
        ModuleNotFoundError: sacremoses is not installed.
        OSError, ValueError: a file is missing or damaged.
    """
    if name not in CLASSES:
        raise OtherKindError(f"{name} is a class of its own")
    config = read_config(folder, name, {})
    values = {**_DEFAULTS, **config.values}
    special = special_tokens(values, of_version_5=config.of_version_5)
    unknown, separator = (special.spelling(f"{key}_token") or "" for key in ("unk", "sep"))
    words = MosesWords(folder, unknown, separator)
    return SlowTokenizer(words, folder, replace(config, values=values), special)


def _pieces(folder: Path, vocab: Mapping[str, int]) -> Callable[[str], list[str]]:
    """``pieces(word)``: what merges make of a word's characters.

    A merge may make, or need, what the vocabulary lacks: that is unknown only in the end.
    """
    from tokenizers.models import BPE

    lines = (folder / _MERGES).read_text(encoding="utf-8").split("\n")[:-1]
    merges = [(pair[0], pair[1]) for line in lines if len(pair := line.split()[:2]) == 2]
    symbols = dict.fromkeys(vocab)
    for left, right in merges:
        symbols |= dict.fromkeys((left, right, left + right))
    numbers = {symbol: number for number, symbol in enumerate([*symbols, _UNKNOWN])}
    model = BPE(numbers, merges, unk_token=_UNKNOWN, end_of_word_suffix=_END)
    return lambda word: [token.value for token in model.tokenize(word)]
