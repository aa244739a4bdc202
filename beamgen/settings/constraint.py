"""A constraint: the token sequences among which a search has to stay, as an automaton."""

from __future__ import annotations

import operator
import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.errors import SettingError, one_line
from beamgen.settings.automaton import OUTSIDE, PARTS, Automaton, Table
from beamgen.settings.patterns import can_end, of_json_schema, of_regex
from beamgen.settings.vocabulary import Vocabulary

#: What outlines-core takes for a space between tokens of JSON: one, or none.
WHITESPACE = "[ ]?"

_FORMAT = 1  # of saved files


@dataclass(frozen=True, eq=False)
class Constraint:
    """What may be written: an automaton over token ids, without EOS ids.

    An EOS may come in states that are marked, and there only. It is data of a call, which the
    graph walks; ``Generator.constraint`` and ``Generator.catalogue`` make one of texts.

    Attributes:
        automaton: see ``Automaton``; a search begins in state 0.
        what: what it was made of, for lists of settings.
        vocab_size: ids of the model that it was made for, or 0 where it lists all that it takes.
    """

    automaton: Automaton
    what: str = field(default="an automaton")
    vocab_size: int = 0

    @classmethod
    def choices(cls, entries: Iterable[Sequence[int]]) -> Constraint:
        """One of some token sequences, without EOS ids; the same one twice counts once.

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
        ends = set()
        for entry in different:
            node = 0
            for token in entry:
                if token not in edges[node]:
                    edges[node][token] = len(edges)
                    edges.append({})
                node = edges[node][token]
            ends.add(node)
        entries_in_words = "1 entry" if len(different) == 1 else f"{len(different)} entries"
        return cls(_laid_out(edges, ends), entries_in_words)

    @classmethod
    def of(cls, edges: Iterable[Sequence[int]], ends: Iterable[int]) -> Constraint:
        """Any automaton: edges ``(state, token, next state)``, and states where a text may end.

        A search begins in state 0.

        Raises:
            SettingError: an edge is none, two of a state take one token, or some state that can
                be reached leads to no end.
        """
        followers: dict[int, dict[int, int]] = {0: {}}
        for edge in edges:
            state, token, following = _edge(edge)
            there = followers.setdefault(state, {})
            followers.setdefault(following, {})
            if there.setdefault(token, following) != following:
                raise SettingError(
                    f"two edges of state {state} take the token {token}, to different states",
                    "make the automaton deterministic: one edge for each token of a state",
                )
        marked = {operator.index(state) for state in ends}
        numbers = {state: number for number, state in enumerate(sorted(followers))}
        unknown = sorted(marked - numbers.keys())
        if unknown:
            raise SettingError(
                f"a text may end in state {unknown[0]}, which no edge has", "correct the ends"
            )
        listed = [
            {token: numbers[following] for token, following in followers[state].items()}
            for state in sorted(followers)
        ]
        if not listed[0]:
            raise SettingError("the automaton takes no token", "give state 0 an edge")
        automaton = _laid_out(listed, {numbers[state] for state in marked})
        names = sorted(followers)
        dead = [names[state] for state in _reached(automaton) if not can_end(automaton)[state]]
        if dead:
            raise SettingError(
                f"the automaton has a dead end: from state {dead[0]} no text can end",
                "leave out the edges that lead there, or name the state among the ends",
            )
        return cls(automaton)

    @classmethod
    def regex(cls, pattern: str, vocabulary: Vocabulary) -> Constraint:
        """All texts that a regular expression matches as a whole.

        Args:
            pattern: in the syntax of Rust's regex crate, without anchors and look-around.
            vocabulary: the tokenizer's, without EOS ids.

        Raises:
            SettingError: see ``of_regex``.
            MissingExtraError: outlines-core is not installed.
        """
        automaton = of_regex(pattern, vocabulary)
        return cls(automaton, f"the regular expression {pattern!r}", vocabulary.size)

    @classmethod
    def json_schema(
        cls, schema: Any, vocabulary: Vocabulary, *, whitespace: str = WHITESPACE
    ) -> Constraint:
        """All JSON texts that a schema allows, properties in the schema's order.

        Args:
            schema: a mapping, or its JSON text.
            vocabulary: the tokenizer's, without EOS ids.
            whitespace: a regular expression of what may stand between tokens of JSON.

        Raises:
            SettingError: see ``of_json_schema``.
            MissingExtraError: outlines-core is not installed.
        """
        automaton = of_json_schema(schema, vocabulary, whitespace)
        return cls(automaton, "a JSON schema", vocabulary.size)

    def __str__(self) -> str:
        """For lists of settings."""
        return f"of {self.what}" if self.what.endswith(("entry", "entries")) else self.what

    def check_fits(self, vocab_size: int) -> None:
        """Refuse a model that has more tokens, where a state takes all but some.

        Raises:
            SettingError: it may not have been made for those tokens.
        """
        if self.vocab_size < vocab_size and (self.automaton.rows[:, 2] >= 0).any():
            raise SettingError(
                f"the constraint ({self}) was made for {self.vocab_size} tokens, and the model has "
                f"{vocab_size}",
                "make it anew with this package: beamgen constrain, or generator.constraint(...)",
            )

    @property
    def states(self) -> int:
        """How many states there are."""
        return len(self.automaton)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.automaton.nbytes

    @cached_property
    def shortest(self) -> int:
        """How many tokens the shortest text has, without its EOS."""
        depth = {0: 0}
        waiting = deque([0])
        while waiting:
            state = waiting.popleft()
            if self.automaton.is_marked(state):
                return depth[state]
            for following in self.automaton.targets_of(state).tolist():
                if following not in depth:
                    depth[following] = depth[state] + 1
                    waiting.append(following)
        raise AssertionError("a constraint without an end is refused when it is made")

    def state(self, prefix: Iterable[int]) -> int:
        """Where a prefix leads, ``OUTSIDE`` where it may not be written."""
        return self.automaton.walk(prefix)

    def allowed(self, prefix: Iterable[int]) -> tuple[list[int], bool]:
        """The tokens that may follow a prefix, and whether a text may end there.

        Neither for a prefix outside. With EOS ids in place of the flag this is HF's
        ``prefix_allowed_tokens_fn``.
        """
        state = self.state(prefix)
        return self.tokens_from(state).tolist(), self.automaton.is_marked(state)

    def tokens_from(self, state: int) -> npt.NDArray[np.int64]:
        """The tokens that may come in a state, in ascending order."""
        if state < 0:
            return np.zeros(0, np.int64)
        tokens, targets, rest = self.automaton.edges_of(state)
        if rest == OUTSIDE:
            return tokens[targets >= 0].astype(np.int64)
        may_come = np.ones(self.vocab_size, bool)
        may_come[tokens] = targets >= 0
        return np.flatnonzero(may_come)

    def names(self, token: int) -> bool:
        """Whether some edge names a token as one that may come."""
        edges = self.automaton.edges
        return bool(((edges[:, 0] == token) & (edges[:, 1] >= 0)).any())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the arrays into an ``.npz`` file, which any NumPy reads.

        Raises:
            SettingError: the path is none of an ``.npz`` file, or cannot be written.
        """
        target = Path(path)
        if target.suffix != ".npz":
            raise SettingError(f"{target} is no name of an .npz file", "end it in .npz")
        arrays = {f"constraint_{part}": array for part, array in self.automaton.arrays().items()}
        try:
            np.savez(
                target,
                allow_pickle=False,
                format=np.int32(_FORMAT),
                vocab_size=np.int32(self.vocab_size),
                what=np.frombuffer(self.what.encode(), np.uint8),
                **arrays,
            )
        except OSError as error:
            raise SettingError(
                f"cannot write {target}: {error.strerror}", "check the path"
            ) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Constraint:
        """Read what ``save`` wrote.

        Raises:
            SettingError: it cannot be read, or is no constraint.
        """
        cure = "give a file that Constraint.save wrote"
        try:
            with np.load(path, allow_pickle=False) as stored:
                parts = {part: stored[f"constraint_{part}"] for part in PARTS}
                form, size = int(stored["format"]), int(stored["vocab_size"])
                what = stored["what"].tobytes().decode()
        except OSError as error:
            raise SettingError(
                f"cannot read {path}: {one_line(error)}", "check the path"
            ) from error
        except Exception as error:  # whatever a damaged file makes NumPy raise
            raise SettingError(f"{path} holds no constraint: {one_line(error)}", cure) from error
        if form != _FORMAT:
            raise SettingError(f"{path} is of format {form}, which is not known here", cure)
        wrong = _wrong(parts, size)
        if wrong:
            raise SettingError(f"{path} holds no constraint: {wrong}", cure)
        return cls(Automaton(**parts), what, size)


def _wrong(parts: dict[str, Any], vocab_size: int) -> str:
    """What is wrong about arrays that a file holds, or nothing."""
    widths = {"states": 3, "rows": 3, "edges": 2, "next": None}
    for part, width in widths.items():
        array = parts[part]
        shape_is_wrong = array.ndim != 1 if width is None else array.shape[1:] != (width,)
        if array.dtype != np.int32 or shape_is_wrong or not len(array):
            return f"{part} is {array.dtype} {list(array.shape)}"
    states, rows, edges, following = (parts[part].astype(np.int64) for part in PARTS)
    listed = np.minimum(rows[:, 1], len(edges))
    spans = [
        (states[:, 0], 0, len(rows), "a state's row"),
        (states[:, 1], 0, len(following) + 1, "a state's first target"),
        (rows[:, 0], 0, len(edges) + 1, "a row's first edge"),
        (rows[:, 0] + rows[:, 1], 0, len(edges) + 1, "a row's last edge"),
        (rows[:, 1], 0, len(edges) + 1, "a row's count"),
        (rows[:, 2], -1, len(following), "a row's rest"),
        (edges[:, 0], 0, 2**31, "a token"),
        (edges[:, 1], -1, len(following), "an edge's target"),
        (following, 0, len(states), "a next state"),
    ]
    for values, low, high, name in spans:
        if ((values < low) | (values >= high)).any():
            return f"{name} is out of range"
    if vocab_size < 0 or ((rows[:, 2] >= 0).any() and not vocab_size):
        return "its vocab_size is missing"
    # the largest target of each row, which has to be within next for each state that reads it
    begins = np.append(rows[:, 0], 0)[:-1]
    largest = rows[:, 2].copy()
    for row in np.flatnonzero(listed):
        span = edges[begins[row] : begins[row] + listed[row]]
        largest[row] = max(largest[row], span[:, 1].max())
        if (np.diff(span[:, 0]) <= 0).any():
            return "a row's tokens are in no order"
    if (states[:, 1] + largest[states[:, 0]] >= len(following)).any():
        return "a target is out of range"
    automaton = Automaton(**parts)
    if not can_end(automaton)[0]:
        return "no text can end"
    return ""


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


def _laid_out(edges: Sequence[dict[int, int]], ends: set[int]) -> Automaton:
    """An automaton of each state's edges, token to state."""
    table = Table(len(edges))
    for state, followers in enumerate(edges):
        ordered = np.array(sorted(followers.items()), np.int64).reshape(-1, 2)
        table.add(ordered[:, 0], ordered[:, 1], marked=state in ends)
    return table.finished()


def _reached(automaton: Automaton) -> list[int]:
    """The states that can be reached from the first one."""
    found, waiting = {0}, [0]
    while waiting:
        for state in automaton.targets_of(waiting.pop()).tolist():
            if state not in found:
                found.add(state)
                waiting.append(state)
    return sorted(found)


def _edge(edge: Any) -> tuple[int, int, int]:
    try:
        state, token, following = (operator.index(part) for part in edge)
    except (TypeError, ValueError):
        state = token = following = -1
    if min(state, token, following) < 0 or max(state, token, following) >= 2**31:
        raise SettingError(
            f"an edge is a state, a token id and a state, not {edge!r:.60}", "for example (0, 5, 1)"
        )
    return state, token, following


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
