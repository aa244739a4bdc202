"""Prompts become what a package's graph reads: token ids, and sources where there is an encoder."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from beamgen.errors import BeamgenError, BeamgenWarning, PromptError
from beamgen.package.folder import Package
from beamgen.runtime.empty_prompt import begun
from beamgen.runtime.encoder import (
    begin_with,
    decoder_prompts,
    one_for_each,
    refuse_for_decoder,
    start_of_each,
)
from beamgen.runtime.texts import (
    added_eos,
    check_has_language,
    encode_continuation,
    encode_target,
    encode_text,
    with_target,
)
from beamgen.settings.constraint import Constraint, check_listed
from beamgen.settings.prompts import Prompt, as_batch, is_chat, token_ids
from beamgen.settings.sources import SourceBatch, right_pad
from beamgen.tokenizer.load import load_tokenizer
from beamgen.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Reading:
    """How prompts are read; for the fields see ``Generator.generate``.

    The last three are of encoder-decoders, and each may be one for all sources.
    """

    chat: bool = False
    add_special_tokens: bool = True
    src_lang: str | Sequence[str] | None = None
    decoder_prompt: Prompt | Sequence[Prompt] | None = None
    decoder_start_token_id: int | Sequence[int] | None = None
    tgt_lang: str | Sequence[str] | None = None


class Reader:
    """Reads prompts for a package, whose tokenizer loads when it is first needed."""

    def __init__(self, package: Package) -> None:
        """Read nothing yet."""
        self._package = package
        self._told_of_eos = False

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The package's tokenizer, or None.

        Raises:
            CheckpointError: its files do not load.
            MissingExtraError: they need a package that is not installed.
        """
        return load_tokenizer(self._package.folder)

    @cached_property
    def loaded_tokenizer(self) -> Tokenizer | None:
        """The package's tokenizer; None, with a warning, where it does not load either."""
        try:
            return self.tokenizer
        except BeamgenError as error:
            warnings.warn(f"token ids, and no text: {error.cause}", BeamgenWarning, stacklevel=4)
            return None

    @property
    def needed_tokenizer(self) -> Tokenizer:
        """The package's tokenizer.

        Raises:
            PromptError: it has none.
        """
        if self.tokenizer is None:
            raise PromptError(
                f"{self._package.folder} has no tokenizer, so it takes token ids only",
                "pass ids: generate([[1, 2, 3]]), or --ids '1 2 3' on the command line",
            )
        return self.tokenizer

    def encode(
        self,
        prompt: Prompt,
        *,
        chat: bool = False,
        add_special_tokens: bool = True,
        src_lang: str | None = None,
    ) -> list[int]:
        """Token ids of one prompt; see ``Generator.encode``."""
        if not isinstance(prompt, str) and not is_chat(prompt):
            return token_ids(prompt)
        tokenizer = self.needed_tokenizer
        ids = encode_text(
            tokenizer, prompt, chat=chat, add_special_tokens=add_special_tokens, src_lang=src_lang
        )
        self._check_known(tokenizer, ids)
        return ids

    def encode_target(self, prompt: Prompt) -> list[int]:
        """Token ids of what a decoder goes on with, without what belongs around a text."""
        if not isinstance(prompt, str):
            return token_ids(prompt)
        tokenizer = self.needed_tokenizer
        ids = encode_target(tokenizer, prompt)
        self._check_known(tokenizer, ids)
        return ids

    def catalogue(self, entries: Iterable[str | Sequence[int]]) -> Constraint:
        """A catalogue of texts, or of token ids without EOS; see ``Generator.catalogue``."""
        check_listed(entries)
        eos = self._package.manifest.search.eos_token_id
        return Constraint.choices(
            encode_continuation(self.needed_tokenizer, entry, eos)
            if isinstance(entry, str)
            else entry
            for entry in entries
        )

    def read(self, prompts: Sequence[Prompt], how: Reading) -> list[list[int]]:
        """Token ids of each prompt; an EOS behind a text is told of, once.

        Raises:
            PromptError: see ``Generator.generate``.
        """
        if how.src_lang is not None:
            check_has_language(prompts, chat=how.chat)
        languages = one_for_each("src_lang", how.src_lang, len(prompts))
        ids = [
            self.encode(
                prompt,
                chat=how.chat,
                add_special_tokens=how.add_special_tokens,
                src_lang=language,
            )
            for prompt, language in zip(prompts, languages, strict=True)
        ]
        if how.add_special_tokens and not how.chat and self._package.manifest.encoder is None:
            for prompt, each in zip(prompts, ids, strict=True):
                self._tell_of_eos(prompt, each)
        return ids

    def settings(self, given: Mapping[str, Any], how: Reading, rows: int) -> dict[str, Any]:
        """Settings with the language to translate into, unless the decoder begins with it.

        Raises:
            PromptError, SettingError: see ``Generator.generate``.
        """
        if how.tgt_lang is None:
            return dict(given)
        starts = how.decoder_start_token_id is None and self._begins_with_language
        languages = one_for_each("tgt_lang", how.tgt_lang, rows)
        begun_with = how.decoder_prompt is not None or starts
        return with_target(given, self.needed_tokenizer, languages, begun=begun_with)

    def behind_encoder(
        self, read: list[list[int]], how: Reading
    ) -> tuple[list[list[int]], SourceBatch | None]:
        """What is continued, and what an encoder reads before that, if there is one.

        Args:
            read: token ids of each prompt.
            how: what the decoder behind an encoder begins with.

        Raises:
            PromptError: see ``Generator.generate``.
        """
        encoder = self._package.manifest.encoder
        if encoder is None:
            of_encoders = ("decoder_prompt", "decoder_start_token_id")
            refuse_for_decoder(self._package, {name: getattr(how, name) for name in of_encoders})
            return begun(read, self._package), None
        given = [] if how.decoder_prompt is None else as_batch(how.decoder_prompt)
        ids, rows = [self.encode_target(prompt) for prompt in given], len(read)
        starts = start_of_each(how.decoder_start_token_id, rows, encoder.decoder_start_token_id)
        if how.tgt_lang is not None:
            id_of = self.needed_tokenizer.languages.id_of
            languages = [id_of(code) for code in one_for_each("tgt_lang", how.tgt_lang, rows)]
            if how.decoder_start_token_id is None and self._begins_with_language:
                starts = languages
            elif ids:
                ids = ids if len(ids) != 1 else ids * rows
                begun_with = zip(languages, ids, starts, strict=False)
                ids = [begin_with(language, each, start) for language, each, start in begun_with]
        return (
            decoder_prompts(ids, starts, prepends_start=encoder.prepends_start),
            right_pad(read, self._package.manifest.search.pad_token_id),
        )

    @property
    def _begins_with_language(self) -> bool:
        """Whether what the decoder begins with by default is the token of a language."""
        encoder = self._package.manifest.encoder
        known = self.needed_tokenizer.languages.ids.values()
        return encoder is not None and encoder.decoder_start_token_id in known

    def _tell_of_eos(self, prompt: Prompt, ids: list[int]) -> None:
        if self._told_of_eos or not isinstance(prompt, str):
            return
        ends = self._package.manifest.search.eos_token_id
        eos = added_eos(self.needed_tokenizer, prompt, ids, ends)
        if eos is not None:
            self._told_of_eos = True
            warnings.warn(
                f"the tokenizer ends the prompt with {eos}, an EOS, as if nothing were to "
                "follow; add_special_tokens=False (--no-special-tokens) leaves it out",
                BeamgenWarning,
                stacklevel=5,
            )

    def _check_known(self, tokenizer: Tokenizer, ids: list[int]) -> None:
        """Refuse tokens that only the tokenizer has, by their spelling."""
        size = self._package.manifest.vocab_size
        unknown = next((token for token in ids if token >= size), None)
        if unknown is not None:
            spelled = tokenizer.convert_ids_to_tokens(unknown)
            raise PromptError(
                f"the tokenizer is larger than the model: {spelled!r} is its token {unknown}, and "
                f"the model has {size} tokens",
                "leave that token out of the prompt, or export a checkpoint whose embeddings "
                "were resized to its tokenizer",
            )
