"""Text and chats become token ids."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from beamgen.errors import PromptError
from beamgen.settings.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_text(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, *, chat: bool = False
) -> list[int]:
    """Token ids of a text or of messages, with the special tokens that the tokenizer adds.

    Args:
        tokenizer: the package's.
        prompt: a text; or messages, which go through its chat template.
        chat: put a text through the template too, as one user message.

    Raises:
        PromptError: the tokenizer has no chat template.
    """
    if isinstance(prompt, str) and not chat:
        return list(tokenizer(prompt)["input_ids"])
    if not tokenizer.chat_template:
        raise PromptError("the package's tokenizer has no chat template", "pass plain text instead")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return list(
        tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
    )


def encode_continuation(
    tokenizer: PreTrainedTokenizerBase, text: str, eos_token_id: Collection[int]
) -> list[int]:
    """The ids by which a text goes on after a word and a space, without the EOS."""
    before = encode_text(tokenizer, "a")
    whole = encode_text(tokenizer, f"a {text.strip()}")
    while before and before != whole[: len(before)]:
        before = before[:-1]  # an EOS that the tokenizer appends
    ids = whole[len(before) :]
    return ids[:-1] if ids and ids[-1] in eos_token_id else ids
