"""The bytes that each token writes, as a trie, over which bytes' automata become tokens'."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trie:
    """The bytes of all tokens. The root is node 0, a node's children follow one another.

    Attributes:
        first, last: int64 ``[n]``, a node's children: ``first`` up to ``last``.
        byte: int64 ``[n]``, that leads to a node.
        node: int64 ``[m]``, where each token ends, in ascending order.
        token: int64 ``[m]``, its id.
    """

    first: Ints
    last: Ints
    byte: Ints
    node: Ints
    token: Ints

    @cached_property
    def tokens_before(self) -> Ints:
        """How many tokens end at nodes before each one, int64 ``[n + 1]``."""
        return np.searchsorted(self.node, np.arange(len(self.byte) + 1))


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What tokens write.

    Attributes:
        name: of the tokenizer's class, for messages.
        texts: of each id the bytes that it adds to a text; None for one that is no text.
        size: ids that the model has.
        behind: bytes that stand behind every whole text and are not shown.
        only: what alone can be written, in words; empty where it is anything.
    """

    name: str
    texts: Sequence[bytes | None]
    size: int
    behind: bytes = b""
    only: str = ""

    def without(self, ids: Collection[int]) -> Vocabulary:
        """The same, with some ids no text."""
        kept = [None if token in ids else text for token, text in enumerate(self.texts)]
        return Vocabulary(self.name, kept, self.size, self.behind, self.only)

    @cached_property
    def trie(self) -> Trie:
        """The trie of all texts that are not empty."""
        pairs = sorted((text, token) for token, text in enumerate(self.texts[: self.size]) if text)
        texts = [text for text, _ in pairs]
        lengths = np.array([len(text) for text in texts], np.int64)
        longest = int(lengths.max(initial=0))
        padded = np.full((len(texts), longest), -1, np.int16)
        for row, text in enumerate(texts):
            padded[row, : len(text)] = list(text)
        # the node of each text's first bytes, one level after the other
        at = np.zeros(len(texts), np.int64)
        first, last, byte = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], [np.full(1, -1)]
        count, ends = 1, np.zeros(len(texts), np.int64)
        level_first, level_size = 0, 1
        for depth in range(longest):
            alive = np.flatnonzero(lengths > depth)
            keys = at[alive] * 256 + padded[alive, depth]  # in order of the level before
            distinct, inverse = np.unique(keys, return_inverse=True)
            parents = distinct // 256 - level_first
            starts = count + np.searchsorted(parents, np.arange(level_size))
            stops = count + np.searchsorted(parents, np.arange(level_size), side="right")
            first[-1], last[-1] = starts, stops
            at[alive] = count + inverse
            ended = alive[lengths[alive] == depth + 1]
            ends[ended] = at[ended]
            level_first, level_size = count, len(distinct)
            count += level_size
            byte.append(distinct % 256)
            first.append(np.zeros(level_size, np.int64))
            last.append(np.zeros(level_size, np.int64))
        order = np.argsort(ends, kind="stable")
        tokens = np.array([token for _, token in pairs], np.int64)
        return Trie(
            np.concatenate(first),
            np.concatenate(last),
            np.concatenate(byte).astype(np.int64),
            ends[order],
            tokens[order],
        )
