"""Decoded text as people write it: no space before punctuation and English endings."""

from __future__ import annotations

_SHORTER = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def clean_up(text: str) -> str:
    """What ``clean_up_tokenization_spaces`` does.

    Source: ``PreTrainedTokenizerBase.clean_up_tokenization`` of transformers.
    """
    for long, short in _SHORTER:
        text = text.replace(long, short)
    return text
