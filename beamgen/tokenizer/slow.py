"""A tokenizer that is Python code: what all such classes of HF's do around their own words.

Source: ``PreTrainedTokenizer`` of transformers 4.57.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from beamgen.tokenizer.chat import DEFAULT, default_template, read_templates, render
from beamgen.tokenizer.clean_up import clean_up
from beamgen.tokenizer.config import TokenizerConfig
from beamgen.tokenizer.languages import Languages
from beamgen.tokenizer.special import SpecialTokens
from beamgen.tokenizer.tokenizer import Messages

if TYPE_CHECKING:
    from tokenizers import AddedToken


class Words(Protocol):
    """What a class does itself: a text without added tokens becomes pieces, and back.

    Attributes:
        vocab: HF's ``get_vocab``, added tokens left out.
        languages: that it is told of.
    """

    @property
    def vocab(self) -> Mapping[str, int]: ...  # noqa: D102 - above
    @property
    def languages(self) -> Languages: ...  # noqa: D102

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text, as they are spelled."""

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """The ids of pieces, that of unknown ones where the vocabulary lacks them."""

    def around(self, ids: list[int], added: Mapping[str, int], src_lang: str | None) -> list[int]:
        """Ids with the special tokens that belong around every text; ``added`` has their ids."""

    def target_pieces(self, text: str) -> list[str]:
        """The pieces of a text in the language that is translated into."""

    def target_ids(self, pieces: Sequence[str]) -> list[int]:
        """Their ids."""

    def spelling(self, token: int) -> str:
        """How an id is spelled, the unknown token where there is none."""

    def joined(self, pieces: Sequence[str], special: frozenset[str]) -> str:
        """The text of pieces, special tokens among them."""


class SlowTokenizer:
    """See ``Tokenizer``.

    Attributes:
        words: what its class does itself.
        added_tokens: by id, with their flags.
    """

    backend = None

    def __init__(
        self,
        words: Words,
        folder: Path,
        config: TokenizerConfig,
        special: SpecialTokens,
        *,
        size: int | None = None,
    ) -> None:
        """Put added tokens around a class's own words.

        Args:
            words: the class's.
            folder: the tokenizer's, where chat templates stand.
            config: its arguments.
            special: its special tokens.
            size: of the vocabulary that counts as its own, HF's ``vocab_size``; by default
                that of ``words.vocab``.

        Raises:
            ValueError: chat templates are of no form that HF reads.
        """
        self.words = words
        self.name = config.class_name
        self.special_tokens_map = special.map
        self.clean_up_tokenization_spaces = bool(config.values.get("clean_up_tokenization_spaces"))
        self.split_special_tokens = bool(config.values.get("split_special_tokens"))
        self._vocab = words.vocab
        self.added_tokens: dict[int, AddedToken] = _added(self._vocab, config.added_tokens, special)
        self._ids = {token.content: i for i, token in self.added_tokens.items()}
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._split = re.compile("|".join(map(re.escape, longest_first)))
        self._special = frozenset(str(token) for token in special.all)
        size = len(self._vocab) if size is None else size
        late = {str(token) for token in special.additional if self._ids[str(token)] >= size}
        self._apart = (self._ids.keys() - self._special) | late
        self._templates = read_templates(folder, config.values.get("chat_template"))

    @property
    def special_tokens(self) -> Mapping[int, str]:
        """Spellings by id, of all that decoding leaves out."""
        marked = {i: token.content for i, token in self.added_tokens.items() if token.special}
        return {self._ids[token]: token for token in self._special} | marked

    @property
    def eos_token_id(self) -> int | None:
        """Of the token called EOS."""
        return self._ids.get(str(self.special_tokens_map.get("eos_token")))

    @property
    def chat_template(self) -> str | None:
        """The default one."""
        return self._templates.get(DEFAULT)

    @property
    def special_spellings(self) -> frozenset[str]:
        """Of the tokens that its config names."""
        return self._special

    @property
    def languages(self) -> Languages:
        """That it is told of."""
        return replace(self.words.languages, eos_token_id=self.eos_token_id)

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self._vocab.keys() | self._ids.keys())

    def encode(
        self, text: str, *, add_special_tokens: bool = True, src_lang: str | None = None
    ) -> list[int]:
        """The ids of a text."""
        if src_lang is not None:
            self.languages.id_of(src_lang)
        ids = self._ids_of(text, self.words.pieces, self.words.ids)
        return self.words.around(ids, self._ids, src_lang) if add_special_tokens else ids

    def encode_target(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The ids of a text in the language that is translated into."""
        ids = self._ids_of(text, self.words.target_pieces, self.words.target_ids)
        language = self.languages.tgt_lang
        return self.words.around(ids, self._ids, language) if add_special_tokens else ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids."""
        texts: list[str] = []
        pieces: list[str] = []
        for token in map(self._spelling, ids):
            if skip_special_tokens and token in self._special:
                continue
            if token in self._apart:
                before = self.words.joined(pieces, self._special) if pieces else ""
                texts += [before, token] if before else [token]
                pieces = []
            else:
                pieces.append(token)
        if pieces:
            texts.append(self.words.joined(pieces, self._special))
        text = " ".join(texts)
        return clean_up(text) if self.clean_up_tokenization_spaces else text

    def convert_ids_to_tokens(self, token: int) -> str | None:
        """How a token is spelled."""
        return self._spelling(token)

    def joined(self, pieces: Sequence[str]) -> str:
        """The text of tokens as they are spelled."""
        return self.words.joined(pieces, self._special)

    def chat_text(self, messages: Messages, *, add_generation_prompt: bool = True) -> str:
        """A chat as the template writes it."""
        variables = {**self.special_tokens_map, "add_generation_prompt": add_generation_prompt}
        return render(default_template(self._templates), messages, variables)

    def _ids_of(
        self,
        text: str,
        pieces: Callable[[str], list[str]],
        ids: Callable[[Sequence[str]], list[int]],
    ) -> list[int]:
        """The ids of a text, its added tokens found."""
        parts = [text] if self.split_special_tokens else _strip(self._parts(text), self._token)
        found: list[int] = []
        for part in filter(None, parts):
            if part in self._ids and not self.split_special_tokens:
                found.append(self._ids[part])
                continue
            spelled = pieces(part)
            known = ids(spelled)
            found += [self._ids.get(s, i) for s, i in zip(spelled, known, strict=True)]
        return found

    def _token(self, part: str) -> AddedToken | None:
        return self.added_tokens[self._ids[part]] if part in self._ids else None

    def _parts(self, text: str) -> list[str]:
        """A text, cut at the added tokens, which are parts of their own."""
        parts, begin = [], 0
        for found in self._split.finditer(text):
            parts += [text[begin : found.start()], found[0]]
            begin = found.end()
        return [part for part in [*parts, text[begin:]] if part]

    def _spelling(self, token: int) -> str:
        if token in self.added_tokens:
            return str(self.added_tokens[token].content)
        return self.words.spelling(token)


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
