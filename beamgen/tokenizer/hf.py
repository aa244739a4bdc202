"""A tokenizer that transformers runs: slow ones, sentencepiece's, and Python code of a checkpoint.

The one module of a package's runtime that imports it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beamgen.errors import PromptError, one_line
from beamgen.tokenizer.chat import refused
from beamgen.tokenizer.languages import NO_LANGUAGES, Languages
from beamgen.tokenizer.tokenizer import Messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class HfTokenizer:
    """See ``Tokenizer``.

    Attributes:
        tokenizer: HF's own.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take HF's object."""
        self.tokenizer = tokenizer

    @property
    def name(self) -> str:
        """Of its class."""
        return type(self.tokenizer).__name__.removesuffix("Fast")

    @property
    def special_tokens_map(self) -> Mapping[str, str | list[str]]:
        """Named special tokens."""
        named: dict[str, str | list[str]] = self.tokenizer.special_tokens_map
        return named

    @cached_property
    def special_tokens(self) -> Mapping[int, str]:
        """Spellings by id, of all that decoding leaves out."""
        ids = self.tokenizer.all_special_ids
        named = {i: str(self.tokenizer.convert_ids_to_tokens(i)) for i in ids if i is not None}
        marked = self.tokenizer.added_tokens_decoder.items()
        return named | {i: token.content for i, token in marked if token.special}

    @property
    def eos_token_id(self) -> int | None:
        """Of the token called EOS."""
        found: int | None = self.tokenizer.eos_token_id
        return found

    @property
    def chat_template(self) -> str | None:
        """The default one."""
        templates = self.tokenizer.chat_template
        named: str | None = templates.get("default") if isinstance(templates, dict) else templates
        return named

    @property
    def clean_up_tokenization_spaces(self) -> bool:
        """Whether spaces before punctuation go."""
        return bool(self.tokenizer.clean_up_tokenization_spaces)

    @property
    def split_special_tokens(self) -> bool:
        """Whether special tokens' spellings are text."""
        return bool(getattr(self.tokenizer, "split_special_tokens", False))

    @property
    def backend(self) -> Any:
        """What is beneath a fast tokenizer."""
        return self.tokenizer.backend_tokenizer if self.tokenizer.is_fast else None

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self.tokenizer)

    @property
    def languages(self) -> Languages:
        """None that can be told from here: HF's classes keep them in ways of their own."""
        return NO_LANGUAGES

    def encode(
        self, text: str, *, add_special_tokens: bool = True, src_lang: str | None = None
    ) -> list[int]:
        """The ids of a text.

        Raises:
            PromptError: the tokenizer cannot, by what stands in its files; or a language was given.
        """
        if src_lang is not None:
            raise PromptError(
                f"the tokenizer {self.name} runs in transformers, which reads its language "
                "from a file",
                "set src_lang in the package's tokenizer_config.json",
            )
        return self._ids(text, add_special_tokens=add_special_tokens)

    def encode_target(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The ids of a text in the language that is translated into.

        Raises:
            PromptError: see ``encode``.
        """
        # HF's classes look it up, whether or not it goes around the text; 5's take this one
        if getattr(self.tokenizer, "tgt_lang", "") is None and self.tokenizer.src_lang:
            self.tokenizer.tgt_lang = self.tokenizer.src_lang
        return self._ids(text_target=text, add_special_tokens=add_special_tokens)

    def _ids(self, *text: str, **given: Any) -> list[int]:
        try:
            found = self.tokenizer(*text, **given, verbose=False)
        except Exception as error:  # whatever a file can make a tokenizer raise
            raise PromptError(
                f"the tokenizer {self.name} fails on this text: {one_line(error)}",
                "correct tokenizer_config.json, or pass token ids",
            ) from error
        return list(found["input_ids"])

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return text

    def convert_ids_to_tokens(self, token: int) -> str | None:
        """How a token is spelled."""
        spelled: str | None = self.tokenizer.convert_ids_to_tokens(token)
        return spelled

    def joined(self, pieces: Sequence[str]) -> str:
        """The text of tokens as they are spelled."""
        text: str = self.tokenizer.convert_tokens_to_string(list(pieces))
        return text

    def chat_text(self, messages: Messages, *, add_generation_prompt: bool = True) -> str:
        """A chat as the template writes it."""
        if not self.tokenizer.chat_template:
            raise PromptError(
                "the package's tokenizer has no chat template", "pass plain text instead"
            )
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except Exception as error:  # jinja's, Python's, and HF's where there is no default
            raise refused(error) from error
        return text


def load_hf(folder: Path, *, trust_remote_code: bool) -> HfTokenizer:
    """What ``AutoTokenizer`` makes of a folder.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        Exception: each tokenizer library fails in its own way.
    """
    with _no_advice():
        from transformers import AutoTokenizer
    return HfTokenizer(
        AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    )


@contextlib.contextmanager
def _no_advice() -> Iterator[None]:
    """Keep transformers from advising, on import, to install torch: a tokenizer needs none."""
    name = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
