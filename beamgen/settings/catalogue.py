"""A catalogue: the token sequences among which a search has to stay."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.errors import SettingError

Array = npt.NDArray[np.int64]

_END = -1


@dataclass(frozen=True, eq=False)
class Catalogue:
    """A trie of token sequences in compressed sparse row form, the graph's own.

    The edges of node i are those from ``offsets[i]`` up to ``offsets[i + 1]``, in
    the order of their tokens. The root is node 0.

    Attributes:
        offsets: int64 ``[nodes + 1]``.
        tokens: int64 ``[edges]``, what each edge consumes; -1 where an entry ends.
        next: int64 ``[edges]``, the node each edge leads to; -1 where an entry ends.
        size: number of different entries.
    """

    offsets: Array
    tokens: Array
    next: Array
    size: int

    @classmethod
    def of(cls, entries: Iterable[Sequence[int]]) -> Catalogue:
        """The trie of some token sequences, without EOS ids; the same one twice counts once.

        Raises:
            SettingError: there are no entries, one is empty, or holds what is no id.
        """
        check_listed(entries)
        different = sorted({_entry(entry) for entry in entries})
        if not different:
            raise SettingError("the catalogue is empty", "give it at least one entry")
        if not different[0]:
            raise SettingError("the catalogue has an empty entry", "leave out empty lines")
        edges: list[dict[int, int]] = [{}]  # of each node: token -> node
        for entry in different:
            node = 0
            for token in entry:
                if token not in edges[node]:
                    edges[node][token] = len(edges)
                    edges.append({})
                node = edges[node][token]
            edges[node][_END] = _END
        ordered = [sorted(node.items()) for node in edges]
        flat = np.array([edge for node in ordered for edge in node], np.int64)
        offsets = np.cumsum([0, *(len(node) for node in ordered)], dtype=np.int64)
        return cls(offsets, flat[:, 0].copy(), flat[:, 1].copy(), len(different))

    def __str__(self) -> str:
        """For lists of settings."""
        return f"of {self.size} entries"

    def allowed(self, prefix: Iterable[int]) -> tuple[list[int], bool]:
        """The tokens that may follow a prefix, and whether an entry ends there.

        Neither for a prefix outside the catalogue. With EOS ids in place of the
        flag this is HF's ``prefix_allowed_tokens_fn``.
        """
        node = 0
        for token in prefix:
            tokens, following = self._edges(node)
            place = int(np.searchsorted(tokens, token))
            if token == _END or place == len(tokens) or tokens[place] != token:
                return [], False
            node = int(following[place])
        tokens, _ = self._edges(node)
        return tokens[tokens != _END].tolist(), bool((tokens == _END).any())

    def _edges(self, node: int) -> tuple[Array, Array]:
        here = slice(self.offsets[node], self.offsets[node + 1])
        return self.tokens[here], self.next[here]


def check_listed(entries: object) -> None:
    """Refuse what is no list of entries.

    Raises:
        SettingError: it is none; a text is one entry, or the name of a file.
    """
    if isinstance(entries, str) or not isinstance(entries, Iterable):
        raise SettingError(
            f"a catalogue is a list of entries, not {entries!r:.60}",
            "for example [[5, 9, 7], [5, 8]]",
        )


def _entry(entry: Any) -> tuple[int, ...]:
    try:
        ids = tuple(operator.index(token) for token in entry)
        flags = any(isinstance(token, bool) for token in entry)
    except TypeError:
        ids, flags = (), True
    if flags or isinstance(entry, bytes) or any(not 0 <= token < 2**31 for token in ids):
        raise SettingError(
            f"a catalogue entry is a list of token ids, not {entry!r:.60}", "for example [5, 9, 7]"
        )
    return ids
