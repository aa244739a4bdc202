"""Prompts: the forms they come in, their padding, and what no graph can search."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.adapter import PositionLimits
from beamgen.errors import PromptError

Ids = npt.NDArray[np.int64]
Message = Mapping[str, str]
Chat = Sequence[Message]
Prompt = str | Sequence[int] | Ids | Chat


def left_pad(
    batch: Sequence[Sequence[int]], pad_token_id: int, prompt_len: int = 0
) -> tuple[Ids, Ids]:
    """Unequal prompts as ``input_ids`` and ``attention_mask``, int64 ``[B, S]``.

    S is the longest prompt's length, or ``prompt_len`` where that is more.

    Raises:
        PromptError: a prompt has no tokens.
    """
    for row, prompt in enumerate(batch):
        if not len(prompt):
            raise PromptError(
                f"prompt {row + 1} of {len(batch)} is empty", "a search continues something"
            )
    longest = max(prompt_len, *(len(prompt) for prompt in batch))
    input_ids = np.full((len(batch), longest), pad_token_id, np.int64)
    attention_mask = np.zeros((len(batch), longest), np.int64)
    for row, prompt in enumerate(batch):
        input_ids[row, longest - len(prompt) :] = prompt
        attention_mask[row, longest - len(prompt) :] = 1
    return input_ids, attention_mask


def check_batch(input_ids: Ids, attention_mask: Ids, vocab_size: int) -> None:
    """Refuse what the graph would answer with nonsense.

    Raises:
        PromptError: shapes differ, a row is empty, right-padded, has holes in
            its mask, or holds ids outside the vocabulary.
    """
    if input_ids.ndim != 2 or input_ids.shape != attention_mask.shape or not input_ids.size:
        raise PromptError(
            f"input_ids {input_ids.shape} and attention_mask {attention_mask.shape} "
            "must be of the same shape [batch, prompt_len], neither of them 0",
            "pad the prompts on the left to one length",
        )
    is_text = attention_mask == 1
    if not (is_text | (attention_mask == 0)).all():
        raise PromptError(
            "attention_mask holds other values than 0 and 1", "1 marks text, 0 padding"
        )
    empty = np.flatnonzero(~is_text.any(axis=1))
    if empty.size:
        raise PromptError(f"row {empty[0]} is masked altogether", "give it at least one token")
    broken = np.flatnonzero((is_text[:, :-1] & ~is_text[:, 1:]).any(axis=1))
    if broken.size:
        where = "padded on the right" if is_text[broken[0], 0] else "masked in between"
        raise PromptError(
            f"row {broken[0]} is {where}",
            'pad on the left: tokenizer.padding_side = "left"',
        )
    check_ids("input_ids", input_ids, vocab_size)


def check_ids(name: str, ids: Ids, vocab_size: int) -> None:
    """Hold ids within the vocabulary.

    Raises:
        PromptError: one is outside; ``name`` says what they are.
    """
    outside = ids[(ids < 0) | (ids >= vocab_size)]
    if outside.size:
        raise PromptError(
            f"{name} holds {outside.flat[0]}, which is outside the vocabulary of {vocab_size}",
            "leave such tokens out of the text or ids: the model knows none of them",
        )


def check_lengths(limits: PositionLimits, prompt_len: int, max_new_tokens: int) -> None:
    """Hold a search within the positions the model has.

    Raises:
        PromptError: it would leave them, or cross a recompute boundary.
    """
    total = prompt_len + max_new_tokens
    if total > limits.max_positions:
        room = limits.room(prompt_len)
        raise PromptError(
            f"{prompt_len} prompt tokens + {max_new_tokens} new ones are {total}, but the "
            f"model has {limits.max_positions} positions",
            f"set max_new_tokens to {room} or less" if room > 0 else "shorten the prompt",
        )
    boundary = limits.recompute_boundary
    if boundary is not None and prompt_len <= boundary < total:
        room = limits.room(prompt_len)
        raise PromptError(
            f"a sequence would grow from {prompt_len} to {total} tokens across "
            f"{boundary}, where this model computes every position anew (LongRoPE)",
            f"{f'set max_new_tokens to {room} or less' if room else 'shorten the prompt'}, "
            f"or use a prompt of more than {boundary} tokens",
        )


def as_batch(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt or several: ids and chats are sequences themselves."""
    if isinstance(prompts, str) or is_chat(prompts) or _is_ids(prompts):
        return [prompts]  # type: ignore[list-item] # told apart above
    if isinstance(prompts, np.ndarray) and prompts.ndim != 2:
        raise PromptError(f"prompts is an array of {prompts.ndim} axes", "pass [batch, prompt_len]")
    if isinstance(prompts, Mapping) or not isinstance(prompts, Iterable):
        raise _not_a_prompt(prompts)
    return list(prompts)


def token_ids(prompt: object) -> list[int]:
    """Whole numbers of any library, tensors included; nothing is rounded."""
    try:
        ids = [operator.index(token) for token in prompt]  # type: ignore[attr-defined] # or a TypeError
    except TypeError:
        raise _not_a_prompt(prompt) from None
    if any(not -(2**63) <= token < 2**63 for token in ids):
        raise PromptError("a token id has more than 63 bits", "use the tokenizer's ids")
    return ids


def as_int64(values: Any) -> Ids:
    """An array of whole numbers.

    Raises:
        PromptError: it holds something else.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise PromptError(f"input_ids and attention_mask hold {array.dtype}", "pass whole numbers")
    return array.astype(np.int64)


def _not_a_prompt(found: object) -> PromptError:
    return PromptError(
        f"a prompt is text, token ids or chat messages, not {reprlib.repr(found)}".splitlines()[0],
        'for example "text", [5, 9, 7] or [{"role": "user", "content": "text"}]',
    )


def _is_ids(prompt: object) -> bool:
    return (
        isinstance(prompt, Sequence | np.ndarray)
        and all(isinstance(token, int | np.integer) for token in prompt)
        and len(prompt) > 0
    )


def is_chat(prompt: object) -> bool:
    """Whether a prompt is a list of messages."""
    return (
        isinstance(prompt, Sequence)
        and len(prompt) > 0
        and all(isinstance(message, Mapping) for message in prompt)
    )
