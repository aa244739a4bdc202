"""What tokens add to the text before them, which is not what they read as alone.

The page for the browser does the same, in ``formats/web/page/text.js``; a test holds
the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from beamgen.tokenizer.tokenizer import Tokenizer

#: ``text(before, token)``: what a token adds to the text of the ids before it.
TokenText = Callable[[Sequence[int], int], str]

#: Stands for bytes that are no whole character.
_PART = "\N{REPLACEMENT CHARACTER}"


def text_added(tokenizer: Tokenizer, before: Sequence[int], ids: Sequence[int]) -> str:
    """What ids add to the text of those before them, special tokens left out.

    Decoded alone they would lose the space before their first word.
    """
    shown = tokenizer.decode(before, skip_special_tokens=True)
    whole = tokenizer.decode([*before, *ids], skip_special_tokens=True)
    # a character's first bytes show as marks until its last one has come
    for begun in (shown, shown.rstrip(_PART)):
        if whole.startswith(begun):
            return whole[len(begun) :]
    return tokenizer.decode(ids, skip_special_tokens=True)


def token_text(tokenizer: Tokenizer | None) -> TokenText:
    """What single tokens add, special ones as they are spelled.

    Without a tokenizer a token reads as its id in brackets.
    """
    if tokenizer is None:
        return lambda before, token: f"[{token}]"
    special = tokenizer.special_tokens

    def text(before: Sequence[int], token: int) -> str:
        return special[token] if token in special else text_added(tokenizer, before, [token])

    return text
