"""A tokenizer of one ``tokenizer.json``, which the tokenizers library runs.

Source: ``PreTrainedTokenizerFast`` of transformers 4.57.6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.tokenizer.chat import DEFAULT, default_template, read_templates, render
from beamgen.tokenizer.classes import KNOWN, LanguageTokens, Values
from beamgen.tokenizer.clean_up import clean_up
from beamgen.tokenizer.config import OtherKindError, TokenizerConfig, read_config
from beamgen.tokenizer.files import TOKENIZER
from beamgen.tokenizer.languages import NO_LANGUAGES, Languages
from beamgen.tokenizer.special import SpecialTokens, special_tokens
from beamgen.tokenizer.tokenizer import Messages

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

#: Without it version 5 leaves decoded text of a BPE as it is.
#: A time as it is spelled.
_TIME = re.compile(r"<\|(\d+\.\d+)\|>")
_CLEANS_BPE = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"


class FastTokenizer:
    """See ``Tokenizer``; made by ``read_fast``."""

    def __init__(
        self,
        name: str,
        backend: Tokenizer,
        special: SpecialTokens,
        templates: Mapping[str, str],
        values: Values,
        languages: Languages,
    ) -> None:
        """Take what ``read_fast`` has made ready."""
        self.name = name
        self.backend = backend
        self.special_tokens_map = special.map
        self.clean_up_tokenization_spaces = bool(values.get("clean_up_tokenization_spaces"))
        self.split_special_tokens = bool(values.get("split_special_tokens"))
        self.languages = languages
        self._special = special
        self._heard = name in KNOWN and KNOWN[name].heard
        self._templates = templates

    @cached_property
    def special_tokens(self) -> Mapping[int, str]:
        """Spellings by id, of all that decoding leaves out."""
        marked = self.backend.get_added_tokens_decoder().items()
        named = {self.backend.token_to_id(str(token)): str(token) for token in self._special.all}
        named.pop(None, None)
        return named | {i: token.content for i, token in marked if token.special}

    @property
    def eos_token_id(self) -> int | None:
        """Of the token called EOS."""
        spelled = self._special.spelling("eos_token")
        return None if spelled is None else self.backend.token_to_id(spelled)

    @property
    def chat_template(self) -> str | None:
        """The default one."""
        return self._templates.get(DEFAULT)

    def __len__(self) -> int:
        """How many tokens there are."""
        size: int = self.backend.get_vocab_size(with_added_tokens=True)
        return size

    def encode(
        self, text: str, *, add_special_tokens: bool = True, src_lang: str | None = None
    ) -> list[int]:
        """The ids of a text."""
        ids: list[int]
        if src_lang is None:
            ids = self.backend.encode(text, add_special_tokens=add_special_tokens).ids
            return ids
        self.languages.id_of(src_lang)
        ids = self.backend.encode(text, add_special_tokens=False).ids
        return self.languages.around(ids, src_lang) if add_special_tokens else ids

    def encode_target(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The ids of a text: one vocabulary is for both languages."""
        language = self.languages.tgt_lang
        return self.encode(text, add_special_tokens=add_special_tokens, src_lang=language)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids."""
        kept = list(ids)
        if self._heard and skip_special_tokens:
            kept = _without_what_was_before(self.backend, kept)
        text: str = self.backend.decode(kept, skip_special_tokens=skip_special_tokens)
        text = _TIME.sub("", text) if self._heard else text
        return clean_up(text) if self.clean_up_tokenization_spaces else text

    def convert_ids_to_tokens(self, token: int) -> str | None:
        """How a token is spelled."""
        spelled: str | None = self.backend.id_to_token(token)
        return spelled

    def joined(self, pieces: Sequence[str]) -> str:
        """The text of tokens as they are spelled."""
        decoder = self.backend.decoder
        text: str = " ".join(pieces) if decoder is None else decoder.decode(list(pieces))
        return text

    def chat_text(self, messages: Messages, *, add_generation_prompt: bool = True) -> str:
        """A chat as the template writes it."""
        variables = {**self.special_tokens_map, "add_generation_prompt": add_generation_prompt}
        return render(default_template(self._templates), messages, variables)


def read_fast(folder: Path, name: str) -> FastTokenizer:
    """Read a tokenizer of one of the ``KNOWN`` classes.

    Raises:
        OtherKindError: it is of another kind.
        Exception: the tokenizers library's own, of a damaged file.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    if name not in KNOWN:
        raise OtherKindError(f"{name} is a class of its own")
    if not (folder / TOKENIZER).is_file():
        raise OtherKindError(f"there is no {TOKENIZER}")
    backend = Tokenizer.from_file(str(folder / TOKENIZER))
    config = read_config(folder, name, backend.get_added_tokens_decoder())
    values = _arguments(config, backend)
    backend.no_truncation()
    backend.no_padding()
    special = special_tokens(values, of_version_5=config.of_version_5)
    backend.encode_special_tokens = bool(values.get("split_special_tokens"))
    listed = config.added_tokens if config.of_version_5 or KNOWN[name].lists_tokens else {}
    _add_tokens(backend, listed, special)
    if config.of_version_5:
        if values.keys() & {"add_bos_token", "add_eos_token"} or backend.post_processor is None:
            _put_around(backend, values, special, strict=False)
        KNOWN[name].adjust_5(backend, values)
        if isinstance(backend.model, BPE) and not values.get(_CLEANS_BPE):
            values = {**values, "clean_up_tokenization_spaces": False}
    else:
        _set_prefix_space(backend, values.get("add_prefix_space", False))
        if KNOWN[name].bos_and_eos:
            _put_around(backend, values, special, strict=True)
        KNOWN[name].adjust(backend, values)
    # version 5 keeps no list of them
    listed_codes = backend.get_vocab() if config.of_version_5 else special.additional
    languages = _languages(backend, KNOWN[name].languages, listed_codes, values, special)
    templates = read_templates(folder, values.get("chat_template"))
    return FastTokenizer(name, backend, special, templates, values, languages)


def _without_what_was_before(backend: Tokenizer, ids: list[int]) -> list[int]:
    """The ids without the text of an earlier window that they begin with.

    Source: ``WhisperTokenizerFast._strip_prompt``.
    """
    before, start = (backend.token_to_id(f"<|startof{name}|>") for name in ("prev", "transcript"))
    if not ids or ids[0] != before:
        return ids
    return ids[ids.index(start) :] if start in ids else []


def _arguments(config: TokenizerConfig, backend: Tokenizer) -> Values:
    """What a class's ``__init__`` is given, and makes of it."""
    values = dict(config.values)
    if not config.of_version_5:
        known = KNOWN[config.class_name]
        values = dict(known.arguments({**known.defaults, **values}))
    if backend.padding is not None:
        values.setdefault("pad_token", backend.padding["pad_token"])
    return values


def _add_tokens(
    backend: Tokenizer, listed: Mapping[int, AddedToken], special: SpecialTokens
) -> None:
    """Add what the config lists and the file lacks, and special tokens that are nowhere."""
    from tokenizers import AddedToken

    there = backend.get_added_tokens_decoder()
    known = {repr(token) for token in there.values()}
    tokens: list[Any] = [token for _, token in sorted(listed.items()) if repr(token) not in known]
    spelled = {token.content for token in there.values()} | {str(token) for token in tokens}
    # one with flags is given again: the library decides what counts
    tokens += [
        token for token in special.all if isinstance(token, AddedToken) or token not in spelled
    ]
    names = {str(token) for token in special.all}
    made = []
    for token in tokens:
        if isinstance(token, str):
            made.append(AddedToken(token, special=token in names))
        else:
            token.special = token.special or token.content in names
            made.append(token)
    if made:
        backend.add_tokens(made)


def _languages(
    backend: Tokenizer,
    tokens: LanguageTokens | None,
    among: Iterable[object],
    values: Values,
    special: SpecialTokens,
) -> Languages:
    """The languages of a class, of which one is put around texts.

    Raises:
        OtherKindError: the file lacks one, or does not say which they are.
    """
    from tokenizers.processors import TemplateProcessing

    if tokens is None:
        return NO_LANGUAGES
    ids = {code: backend.token_to_id(code) for code in tokens.of(among)}
    source = str(values.get("src_lang") or tokens.default)
    target = str(values.get("tgt_lang") or source)
    eos = special.spelling("eos_token")
    eos_id = None if eos is None else backend.token_to_id(eos)
    if not ids.keys() >= {source, target} or eos_id is None:
        raise OtherKindError(f"its vocabulary lacks {source!r:.60}, {target!r:.60} or its EOS")
    languages = Languages(ids, source, target, eos_id, tokens.before(values))
    around = [source, "$A", eos] if languages.before else ["$A", eos, source]
    backend.post_processor = TemplateProcessing(
        single=around,
        pair=[part for place in around for part in ([place, "$B"] if place == "$A" else [place])],
        special_tokens=[(source, ids[source]), (eos, eos_id)],
    )
    return languages


def _put_around(
    backend: Tokenizer, values: Values, special: SpecialTokens, *, strict: bool
) -> None:
    """Put a BOS before every text and an EOS behind it, as the config says.

    Source: ``update_post_processor`` of ``LlamaTokenizerFast`` and of version 5.
    """
    from tokenizers.processors import TemplateProcessing

    before, behind = (
        special.spelling(f"{name}_token") if values.get(f"add_{name}_token") else None
        for name in ("bos", "eos")
    )
    for name, token in (("bos", before), ("eos", behind)):
        if strict and values.get(f"add_{name}_token") and token is None:
            raise OtherKindError(f"it adds a {name}_token and has none")
    first = [f"{before}:0"] if before else []
    last = [f"{behind}:0"] if behind else []
    ids = {token: backend.token_to_id(token) for token in (before, behind) if token}
    if None in ids.values():
        raise OtherKindError("the token that it adds is not in its vocabulary")
    backend.post_processor = TemplateProcessing(
        single=[*first, "$A:0", *last],
        pair=[*first, "$A:0", *last, "$B:1"],
        special_tokens=list(ids.items()),
    )


def _set_prefix_space(backend: Tokenizer, wanted: bool | None) -> None:
    """The config's ``add_prefix_space`` counts, not the file's; null leaves it."""
    from tokenizers import pre_tokenizers

    if backend.pre_tokenizer is None or wanted is None:
        return
    state = json.loads(backend.pre_tokenizer.__getstate__())
    if state.get("add_prefix_space", wanted) != wanted:
        kind = getattr(pre_tokenizers, state.pop("type"))
        backend.pre_tokenizer = kind(**{**state, "add_prefix_space": wanted})
