"""Moses words, cut into pieces by byte-pair merges that know where a word ends.

Source: ``BioGptTokenizer`` and ``PreTrainedTokenizer`` of transformers 4.57.6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from beamgen.tokenizer.chat import DEFAULT, default_template, read_templates, render
from beamgen.tokenizer.clean_up import clean_up
from beamgen.tokenizer.config import OtherKindError, TokenizerConfig, read_config
from beamgen.tokenizer.special import SpecialTokens, special_tokens
from beamgen.tokenizer.tokenizer import Messages

if TYPE_CHECKING:
    from tokenizers import AddedToken

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


class MosesTokenizer:
    """See ``Tokenizer``; made by ``read_moses``."""

    backend = None

    def __init__(self, folder: Path, config: TokenizerConfig, special: SpecialTokens) -> None:
        """Read the vocabulary and the merges.

        Raises:
            ModuleNotFoundError: sacremoses is not installed.
            OSError, ValueError: a file is missing or damaged.
        """
        import sacremoses

        self._words = sacremoses.MosesTokenizer(lang="en")
        self._detokenizer = sacremoses.MosesDetokenizer(lang="en")
        self.name = config.class_name
        self.special_tokens_map = special.map
        self.clean_up_tokenization_spaces = bool(config.values.get("clean_up_tokenization_spaces"))
        self.split_special_tokens = bool(config.values.get("split_special_tokens"))
        self._vocab: dict[str, int] = json.loads((folder / _VOCAB).read_text(encoding="utf-8"))
        self._spelled: dict[int, str] = {i: token for token, i in self._vocab.items()}
        self._added: dict[int, AddedToken] = _added(self._vocab, config.added_tokens, special)
        self._ids = {token.content: i for i, token in self._added.items()}
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._split = re.compile("|".join(map(re.escape, longest_first)))
        self._special = {str(token) for token in special.all}
        self._unknown = special.spelling("unk_token") or ""
        self._separator = self._ids[special.spelling("sep_token") or ""]
        self._pieces = _pieces(folder, self._vocab, self._vocab[self._unknown])
        self._templates = read_templates(folder, config.values.get("chat_template"))

    @property
    def special_tokens(self) -> Mapping[int, str]:
        """Spellings by id, of all that decoding leaves out."""
        marked = {i: token.content for i, token in self._added.items() if token.special}
        return {self._ids[token]: token for token in self._special} | marked

    @property
    def eos_token_id(self) -> int | None:
        """Of the token called EOS."""
        return self._ids.get(str(self.special_tokens_map.get("eos_token")))

    @property
    def chat_template(self) -> str | None:
        """The default one."""
        return self._templates.get(DEFAULT)

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self._vocab.keys() | self._ids.keys())

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text."""
        parts = [text] if self.split_special_tokens else _strip(self._parts(text), self._token)
        ids = [i for part in parts for i in self._ids_of(part)]
        return [self._separator, *ids] if add_special_tokens else ids

    def encode_target(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The ids of a text: one vocabulary is for both languages."""
        return self.encode(text, add_special_tokens=add_special_tokens)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids."""
        texts: list[str] = []
        pieces: list[str] = []
        for token in map(self._spelling, ids):
            if skip_special_tokens and token in self._special:
                continue
            if token in self._ids and token not in self._special:
                before = self._joined(pieces)
                texts += [before, token] if before else [token]
                pieces = []
            else:
                pieces.append(token)
        if pieces:
            texts.append(self._joined(pieces))
        text = " ".join(texts)
        return clean_up(text) if self.clean_up_tokenization_spaces else text

    def convert_ids_to_tokens(self, token: int) -> str | None:
        """How a token is spelled."""
        return self._spelling(token)

    def chat_text(self, messages: Messages, *, add_generation_prompt: bool = True) -> str:
        """A chat as the template writes it."""
        variables = {**self.special_tokens_map, "add_generation_prompt": add_generation_prompt}
        return render(default_template(self._templates), messages, variables)

    def _token(self, part: str) -> AddedToken | None:
        return self._added[self._ids[part]] if part in self._ids else None

    def _parts(self, text: str) -> list[str]:
        """A text, cut at the added tokens, which are parts of their own."""
        parts, begin = [], 0
        for found in self._split.finditer(text):
            parts += [text[begin : found.start()], found[0]]
            begin = found.end()
        return [part for part in [*parts, text[begin:]] if part]

    def _ids_of(self, part: str) -> list[int]:
        if part in self._ids and not self.split_special_tokens:
            return [self._ids[part]]
        words = self._words.tokenize(
            part, aggressive_dash_splits=True, return_str=False, escape=True
        )
        return [i for word in words if word for i in self._pieces(word)]

    def _spelling(self, token: int) -> str:
        if token in self._added:
            return str(self._added[token].content)
        return self._spelled.get(token, self._unknown)

    def _joined(self, pieces: Sequence[str]) -> str:
        words = "".join(piece.replace(_END, " ") for piece in pieces).split()
        text: str = self._detokenizer.detokenize(words)
        return text


def read_moses(folder: Path, name: str) -> MosesTokenizer:
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
    return MosesTokenizer(folder, replace(config, values=values), special)


def _added(
    vocab: Mapping[str, int], listed: Mapping[int, AddedToken], special: SpecialTokens
) -> dict[int, AddedToken]:
    """Added tokens by id: the config's, and the special ones, at the end where they are new."""
    from tokenizers import AddedToken

    added = dict(listed)
    there = set(vocab) | {token.content for token in added.values()}
    ids = {token.content: i for i, token in added.items()} | dict(vocab)
    listed_names = {token.content for token in listed.values()}
    for token in special.all:
        if isinstance(token, str) and token in listed_names:
            continue
        name = str(token)
        if name not in there:
            ids[name] = len(there)
            there.add(name)
        is_flagged = isinstance(token, AddedToken)
        added[ids[name]] = token if is_flagged else AddedToken(name, special=True, normalized=False)
    return added


def _strip(parts: list[str], token_of: Callable[[str], AddedToken | None]) -> list[str]:
    """Added tokens take the spaces beside them, or stay text within a word, as they say.

    Source: ``PreTrainedTokenizer.tokenize``.
    """
    for i, part in enumerate(parts):
        token = token_of(part)
        if token is None:
            continue
        left = parts[i - 1] if i else ""
        right = parts[i + 1] if i + 1 < len(parts) else ""
        if token.rstrip and right:
            parts[i + 1] = right.lstrip()
        if token.lstrip and left:
            parts[i - 1] = left.rstrip()
        if token.single_word and left and left[-1] != " ":
            parts[i - 1] += part
            parts[i] = ""
        elif token.single_word and right and right[0] != " ":
            parts[i + 1] = part + parts[i + 1]
            parts[i] = ""
    return [part for part in parts if part]


def _pieces(folder: Path, vocab: Mapping[str, int], unknown: int) -> Callable[[str], list[int]]:
    """``pieces(word)``: the ids of what merges make of a word's characters.

    A merge may make, or need, what the vocabulary lacks: that is unknown only in the end.
    """
    from tokenizers.models import BPE

    lines = (folder / _MERGES).read_text(encoding="utf-8").split("\n")[:-1]
    merges = [(pair[0], pair[1]) for line in lines if len(pair := line.split()[:2]) == 2]
    symbols = dict.fromkeys(vocab)
    for left, right in merges:
        symbols |= dict.fromkeys((left, right, left + right))
    numbers = {symbol: number for number, symbol in enumerate([*symbols, _UNKNOWN])}
    ids = [vocab.get(symbol, unknown) for symbol in numbers]
    model = BPE(numbers, merges, unk_token=_UNKNOWN, end_of_word_suffix=_END)
    return lambda word: [ids[token.id] for token in model.tokenize(word)]
