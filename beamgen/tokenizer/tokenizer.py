"""What a tokenizer does here, whichever library is beneath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from beamgen.tokenizer.languages import Languages

Messages = Sequence[Mapping[str, Any]]


class Tokenizer(Protocol):
    """Text becomes token ids, and back; the names are those of HF's tokenizers.

    Attributes:
        name: of HF's class, without ``Fast``.
        special_tokens_map: named special tokens as they are spelled, for templates.
        special_tokens: spellings by id, of all that ``skip_special_tokens`` leaves out.
        eos_token_id: of the token that it calls EOS.
        chat_template: the default one, None where there is none.
        clean_up_tokenization_spaces: whether spaces before punctuation go from decoded text.
        split_special_tokens: whether a spelling of a special token reads as plain text.
        backend: a ``tokenizers.Tokenizer``; None where the tokenizer is Python code.
        languages: that a token beside a text says it is in.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - above
    @property
    def special_tokens_map(self) -> Mapping[str, str | list[str]]: ...  # noqa: D102
    @property
    def special_tokens(self) -> Mapping[int, str]: ...  # noqa: D102
    @property
    def eos_token_id(self) -> int | None: ...  # noqa: D102
    @property
    def chat_template(self) -> str | None: ...  # noqa: D102
    @property
    def clean_up_tokenization_spaces(self) -> bool: ...  # noqa: D102
    @property
    def split_special_tokens(self) -> bool: ...  # noqa: D102
    @property
    def backend(self) -> Any: ...  # noqa: D102
    @property
    def languages(self) -> Languages: ...  # noqa: D102

    def __len__(self) -> int:
        """How many tokens there are, added ones included."""

    def encode(
        self, text: str, *, add_special_tokens: bool = True, src_lang: str | None = None
    ) -> list[int]:
        """The ids of a text, cut by nothing.

        Args:
            text: of Unicode characters, no lone surrogates.
            add_special_tokens: put those around it that belong around every text.
            src_lang: the code of the language that it is in; by default the tokenizer's own.

        Raises:
            PromptError: there is no such language.
        """

    def encode_target(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The ids of a text in the language that is translated into.

        Args:
            text: see ``encode``.
            add_special_tokens: put those around it that belong around every translation.
        """

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids."""

    def convert_ids_to_tokens(self, token: int) -> str | None:
        """How a token is spelled in the vocabulary; None where there is no such id."""

    def joined(self, pieces: Sequence[str]) -> str:
        """The text of tokens as they are spelled; HF's ``convert_tokens_to_string``."""

    def chat_text(self, messages: Messages, *, add_generation_prompt: bool = True) -> str:
        """A chat as the template writes it; its special tokens are in the text.

        Raises:
            PromptError: there is no template, or it does not take these messages.
        """
