"""A tokenizer for runtimes that do not start without one: token 7 is the text ``<7>``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_AS_NUMBERS: Mapping[int, str] = MappingProxyType({})


def dummy_tokenizer(vocab_size: int, spelled: Mapping[int, str] = _AS_NUMBERS) -> Any:
    """A fast tokenizer of ``vocab_size`` words; nothing is ever tokenized with it.

    ``spelled`` are words other than ``<7>`` of some tokens.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {spelled.get(token, f"<{token}>"): token for token in range(vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<0>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<1>",
        eos_token="<2>",
        pad_token="<0>",
        unk_token="<0>",
    )
