"""A tokenizer for runtimes that do not start without one: token 7 is the text ``<7>``."""

from __future__ import annotations

from typing import Any


def dummy_tokenizer(vocab_size: int) -> Any:
    """A fast tokenizer of ``vocab_size`` words; nothing is ever tokenized with it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"<{token}>": token for token in range(vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<0>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<1>",
        eos_token="<2>",
        pad_token="<0>",
        unk_token="<0>",
    )
