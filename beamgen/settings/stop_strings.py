"""Strings that end a search when they have been written, as an automaton over token ids.

HF asks of every new token whether a stop string ends within it. What it compares are the
characters that each token adds to a text, and the prompt's count: a stop string may begin there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beamgen.errors import SettingError
from beamgen.settings.automaton import Automaton, Table


@dataclass(frozen=True, eq=False)
class StopStrings:
    """Strings that end a search; ``Generator.stop_strings`` makes them.

    Attributes:
        strings: what ends it.
        automaton: over tokens; each has somewhere to lead, and a state is marked in which a
            stop string has just come.
        texts: what each token adds to a text.

    Source: ``StopStringCriteria``, ``transformers/generation/stopping_criteria.py``.
    """

    strings: tuple[str, ...]
    automaton: Automaton
    texts: Sequence[str]

    @classmethod
    def of(cls, strings: str | Iterable[str], texts: Sequence[str], vocab_size: int) -> StopStrings:
        """The automaton of some strings.

        Args:
            strings: one, or several.
            texts: what each token of the tokenizer adds to a text, as HF reads it.
            vocab_size: ids that the model has.

        Raises:
            SettingError: there are none, one is empty, or no token could end any.
        """
        given = (strings,) if isinstance(strings, str) else tuple(strings)
        wrong = [string for string in given if not isinstance(string, str) or not string]
        if wrong or not given:
            raise SettingError(
                f"stop_strings are strings of some characters, not {(wrong or given)!r:.60}",
                'for example stop_strings=["\\n\\n"]',
            )
        size = max(vocab_size, len(texts))
        follow, ends, alphabet = _matcher(given)
        targets, comes = _walked(follow, ends, alphabet, texts, size)
        if not comes.any():
            raise SettingError(
                f"no token can end {' or '.join(map(repr, given))}: the tokenizer never writes it",
                "give strings of characters that it writes",
            )
        # each state twice: as it is, and as it is when a stop string has just come
        table = Table(2 * len(follow))
        for state in range(len(follow)):
            for marked in (False, True):
                table.add_dense(2 * targets[state] + comes[state], marked=marked)
        return cls(given, table.finished(), texts)

    def __str__(self) -> str:
        """For lists of settings."""
        return " ".join(map(repr, self.strings))

    def end(self, before: Iterable[int], ids: Iterable[int]) -> int | None:
        """How many of some ids there are up to the one that ends a stop string, or None."""
        state = self.automaton.walk(before)
        for count, token in enumerate(ids, 1):
            state = self.automaton.step(state, token)
            if self.automaton.is_marked(state):
                return count
        return None


def _matcher(
    strings: Sequence[str],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], dict[str, int]]:
    """How characters lead through what may be a stop string's beginning.

    Returns: follow ``[n, c]``, state 0 the first; which states end a stop string ``[n]``; the
    number of each character that is in one, from 1 on. Number 0 is of all others.

    Source: Aho and Corasick, Efficient string matching, 1975.
    """
    begun = sorted({string[:n] for string in strings for n in range(len(string) + 1)}, key=len)
    number = {text: state for state, text in enumerate(begun)}
    alphabet = {char: i for i, char in enumerate(sorted(set("".join(strings))), 1)}
    follow = np.zeros((len(begun), len(alphabet) + 1), np.int64)
    for text, state in number.items():
        for char, column in alphabet.items():
            longer = text + char
            tails = (longer[i:] for i in range(len(longer) + 1))
            follow[state, column] = number[next(tail for tail in tails if tail in number)]
    ends = np.array([any(text.endswith(string) for string in strings) for text in begun])
    return follow, ends, alphabet


def _walked(
    follow: npt.NDArray[np.int64],
    ends: npt.NDArray[np.bool_],
    alphabet: dict[str, int],
    texts: Sequence[str],
    size: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Where each token leads ``[n, V]``, and whether a stop string ends within it."""
    lengths = np.array([len(text) for text in texts])
    longest = int(lengths.max(initial=0))
    numbers = np.zeros((len(texts), longest), np.int16)
    for row, text in enumerate(texts):
        numbers[row, : len(text)] = [alphabet.get(char, 0) for char in text]
    targets = np.zeros((len(follow), size), np.int64)  # of ids without a text: the beginning
    comes = np.zeros((len(follow), size), bool)
    targets[:, : len(texts)] = np.arange(len(follow))[:, None]
    for depth in range(longest):
        there = np.flatnonzero(lengths > depth)
        targets[:, there] = follow[targets[:, there], numbers[there, depth]]
        comes[:, there] |= ends[targets[:, there]]
    return targets, comes
