"""Text and chats become token ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from beamgen.errors import PromptError, SettingError
from beamgen.settings.prompts import Prompt
from beamgen.tokenizer.tokenizer import Tokenizer


def check_has_language(prompts: Sequence[Prompt], *, chat: bool) -> None:
    """Refuse a language for prompts of which none can be told it.

    Raises:
        PromptError: they are token ids or chats.
    """
    if chat or not any(isinstance(prompt, str) for prompt in prompts):
        raise PromptError(
            "a source's language was given, and no prompt is a plain text",
            "leave src_lang out: ids hold their language's token, and a chat has its template",
        )


def with_target(
    settings: Mapping[str, Any],
    tokenizer: Tokenizer,
    tgt_lang: str | Sequence[str],
    *,
    begun: bool = False,
) -> dict[str, Any]:
    """Settings with the token of the language to translate into as the first one.

    Args:
        settings: under HF's names.
        tokenizer: which knows its languages.
        tgt_lang: the code of one, or those of each row's.
        begun: the decoder's prompt is to hold that token instead: HF forces none behind one.

    Raises:
        PromptError: there is no such language.
        SettingError: the settings name another first token.
    """
    if settings.get("forced_bos_token_id") is not None:
        raise SettingError(
            "tgt_lang and forced_bos_token_id were given, which say the same",
            "leave one of the two out",
        )
    codes = [tgt_lang] if isinstance(tgt_lang, str) else tgt_lang
    ids = [tokenizer.languages.id_of(code) for code in codes]
    if begun:
        return dict(settings)
    return {**settings, "forced_bos_token_id": ids[0] if isinstance(tgt_lang, str) else ids}


def encode_text(
    tokenizer: Tokenizer,
    prompt: Prompt,
    *,
    chat: bool = False,
    add_special_tokens: bool = True,
    src_lang: str | None = None,
) -> list[int]:
    """Token ids of a text or of messages.

    Args:
        tokenizer: the package's.
        prompt: a text; or messages, which go through its chat template.
        chat: put a text through the template too, as one user message.
        add_special_tokens: those that the tokenizer puts around a text. A chat has its
            template's.
        src_lang: the language of a plain text; see ``Tokenizer.encode``.

    Raises:
        PromptError: a text holds what is no character, there is no such language, or the chat
            template is missing, damaged, or does not take the messages.
    """
    if isinstance(prompt, str) and not chat:
        return tokenizer.encode(
            _checked(prompt), add_special_tokens=add_special_tokens, src_lang=src_lang
        )
    messages: Any = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    for number, message in enumerate(messages, start=1):
        _check_message(message, f"message {number} of {len(messages)}")
    text = _checked(tokenizer.chat_text(messages))
    return tokenizer.encode(text, add_special_tokens=False)


def encode_target(
    tokenizer: Tokenizer, text: str, *, add_special_tokens: bool = False
) -> list[int]:
    """Token ids of what a decoder behind an encoder goes on with, or of all that it is to give.

    Args:
        tokenizer: the package's, or the checkpoint's.
        text: in the language that is translated into.
        add_special_tokens: those that belong around all that it is to give.

    Raises:
        PromptError: the text holds what is no character.
    """
    return tokenizer.encode_target(_checked(text), add_special_tokens=add_special_tokens)


def encode_continuation(
    tokenizer: Tokenizer, text: str, eos_token_id: Collection[int]
) -> list[int]:
    """The ids by which a text goes on after a word and a space, without the EOS."""
    before = encode_text(tokenizer, "a")
    whole = encode_text(tokenizer, f"a {text.strip()}")
    while before and before != whole[: len(before)]:
        before = before[:-1]  # an EOS that the tokenizer appends
    ids = whole[len(before) :]
    return ids[:-1] if ids and ids[-1] in eos_token_id else ids


def added_eos(
    tokenizer: Tokenizer, text: str, ids: list[int], eos_token_id: Collection[int]
) -> str | None:
    """The EOS that the tokenizer put behind a text, as it is spelled; None where it did not."""
    if not ids or ids[-1] not in eos_token_id:
        return None
    bare = tokenizer.encode(text, add_special_tokens=False)
    if not bare or ids[-len(bare) :] == bare:
        return None
    return tokenizer.special_tokens.get(ids[-1], f"the token {ids[-1]}")


def _check_message(message: Mapping[str, Any], which: str) -> None:
    """Hold a message to what every template reads: who speaks, and what is said."""
    if not isinstance(message.get("role"), str):
        raise PromptError(f"{which} has no role", _MESSAGE)
    content = message.get("content")
    if isinstance(content, str):
        _checked(content, f"{which}: the text")
    elif not isinstance(content, list) and not message.get("tool_calls"):
        raise PromptError(f"{which} has no content", _MESSAGE)


_MESSAGE = 'a message is {"role": "user", "content": "text"}'


def _checked(text: str, which: str = "the text") -> str:
    """A text that is Unicode throughout.

    Raises:
        PromptError: it holds a lone surrogate, such as Python makes of bytes that are no UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        byte = 0xDC80 <= code <= 0xDCFF
        found = f"the byte 0x{code - 0xDC00:02X}" if byte else f"U+{code:04X}"
        raise PromptError(
            f"{which} is no Unicode: character {error.start + 1} is {found}",
            "pass it as UTF-8" if byte else "leave the lone surrogate out",
        ) from error
    return text
