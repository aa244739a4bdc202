"""What a graph has to know of a tokenizer, read from its steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from beamgen.formats.text.bpe import Merges, read_merges
from beamgen.formats.text.refusal import refuse
from beamgen.formats.text.steps import Prefix, Splitting, read_decoder, read_normalizer, read_splits

if TYPE_CHECKING:
    from beamgen.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text before anything else is done to it."""

    content: str
    id: int
    lstrip: bool
    rstrip: bool


@dataclass(frozen=True)
class TextTables:
    """A tokenizer, as far as the graph goes.

    Attributes:
        name: of its class.
        kind: ``byte-level BPE`` or ``BPE with byte fallback``.
        added: tokens that are looked for first, the longest at each place.
        before: ids that the template puts before each text, such as a BOS.
        after: ids that it puts after it.
        prefix: what is put before each segment.
        splitting: how a segment becomes pieces.
        merges: the vocabulary and its merges.
        token_bytes: what each id is written as; special tokens as nothing.
        byte_tokens: ids that stand for one byte of a character each.
        strip_first_space: a text that begins with a space loses it.
    """

    name: str
    kind: str
    added: Sequence[AddedToken]
    before: Sequence[int]
    after: Sequence[int]
    prefix: Prefix | None
    splitting: Splitting
    merges: Merges
    token_bytes: Sequence[bytes]
    byte_tokens: frozenset[int]
    strip_first_space: bool


def read_tokenizer(tokenizer: Tokenizer) -> TextTables:
    """Take a tokenizer apart.

    Args:
        tokenizer: one that has the ``tokenizers`` library beneath.

    Raises:
        SettingError: it does something that the graph cannot, which is named.
    """
    if tokenizer.backend is None:
        raise refuse(tokenizer, "it is Python code (a slow tokenizer), which no graph can run")
    backend = tokenizer.backend
    parts: dict[str, Any] = json.loads(backend.to_str())
    model = parts["model"]
    # older files do not say
    if model.get("type", "BPE") != "BPE":
        raise refuse(tokenizer, f"its model is {model['type']}, not BPE")
    if tokenizer.clean_up_tokenization_spaces:
        raise refuse(tokenizer, "it has clean_up_tokenization_spaces, which edits decoded text")
    if tokenizer.split_special_tokens:
        raise refuse(tokenizer, "it has split_special_tokens")
    prefix, blanks = read_normalizer(tokenizer, parts["normalizer"])
    prefix, splitting = read_splits(tokenizer, parts["pre_tokenizer"], prefix, blanks)
    added = _added(tokenizer, parts)
    before, after = _template(tokenizer)
    decoder = read_decoder(tokenizer, parts["decoder"])
    if decoder.byte_level != splitting.byte_level:
        raise refuse(tokenizer, "its decoder does not belong to its pre-tokenizer")
    spelled, single = decoder.spell(backend)
    return TextTables(
        name=tokenizer.name,
        kind="byte-level BPE" if splitting.byte_level else "BPE with byte fallback",
        added=added,
        before=before,
        after=after,
        prefix=prefix,
        splitting=splitting,
        merges=read_merges(tokenizer, model, splitting, {token.content for token in added}),
        token_bytes=spelled,
        byte_tokens=frozenset(single),
        strip_first_space=decoder.strip_first_space,
    )


def _added(tokenizer: Tokenizer, parts: Mapping[str, Any]) -> list[AddedToken]:
    """Added tokens, where one search finds what HF's two searches find."""
    rows = [row for row in parts["added_tokens"] if row["content"]]
    if not rows and parts["added_tokens"]:
        raise refuse(tokenizer, "it has an empty added token")
    for row in rows:
        if row["single_word"]:
            raise refuse(tokenizer, f"its added token {row['content']!r} is a single_word")
        if "\0" in row["content"]:
            raise refuse(tokenizer, f"its added token {row['content']!r} holds a NUL")
    late = [row["content"] for row in rows if row["normalized"]]
    if late and parts["normalizer"] is not None:
        raise refuse(
            tokenizer, f"its added token {late[0]!r} is looked for after the normalizer only"
        )
    early = [row["content"] for row in rows if not row["normalized"]]
    for first in early:
        for second in late:
            if _overlap(first, second):
                raise refuse(tokenizer, f"its added tokens {first!r} and {second!r} overlap")
    if any(row["lstrip"] or row["rstrip"] for row in rows):
        for row in rows:
            if row["content"] != row["content"].strip():
                raise refuse(
                    tokenizer,
                    f"its added token {row['content']!r} has white space that others strip",
                )
    return [AddedToken(row["content"], row["id"], row["lstrip"], row["rstrip"]) for row in rows]


def _overlap(one: str, other: str) -> bool:
    """Whether a text may hold both with a character in common."""
    if one in other or other in one:
        return True
    lengths = range(1, min(len(one), len(other)))
    return any(one.endswith(other[:n]) or other.endswith(one[:n]) for n in lengths)


def _template(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids before and after a text, seen on one."""
    bare = _ids(tokenizer, "a", special=False)
    whole = _ids(tokenizer, "a", special=True)
    for start in range(len(whole) - len(bare) + 1):
        if bare and whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    raise refuse(tokenizer, "its post-processor does more than to put tokens around a text")


def _ids(tokenizer: Tokenizer, text: str, *, special: bool) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=special)
