"""An automaton over token ids as the arrays that a graph walks.

A state stands in a row of ``states``: which row of ``rows`` it reads, where its targets begin
in ``next``, and a mark. A row lists edges, each a token and which of the state's targets it
leads to (-1: to none), and says which one all other tokens lead to. So a state that takes
nearly every token lists what it does not, as one that takes few lists those; states that
differ in their targets alone share a row, a counted repetition's among them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Int32s = npt.NDArray[np.int32]

#: Where a beam stands that no edge took along, and one that has no automaton.
OUTSIDE, FREE = -1, -2

#: The arrays, in the order of a graph's inputs.
PARTS = ("states", "rows", "edges", "next")


@dataclass(frozen=True, eq=False)
class Automaton:
    """States that token ids lead through; the first is state 0.

    Attributes:
        states: int32 ``[Q, 3]``: its row, its first target, and whether it is marked.
        rows: int32 ``[R, 3]``: first edge, number of edges, and the target of all other
            tokens, counted from the state's first one, -1 for none.
        edges: int32 ``[E, 2]``, at least one: token, and target counted likewise. A row's
            are in the order of their tokens.
        next: int32 ``[N]``, at least one: states.
    """

    states: Int32s
    rows: Int32s
    edges: Int32s
    next: Int32s

    def __len__(self) -> int:
        """The number of states."""
        return len(self.states)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, Int32s]:
        """The arrays by name."""
        return {part: getattr(self, part) for part in PARTS}

    def step(self, state: int, token: int) -> int:
        """Where a token leads from a state; ``OUTSIDE`` where it may not come."""
        if state < 0:
            return state
        tokens, targets, rest = self.edges_of(state)
        place = int(np.searchsorted(tokens, token))
        is_listed = place < len(tokens) and tokens[place] == token
        target = int(targets[place]) if is_listed else rest
        return target if token >= 0 else OUTSIDE

    def walk(self, tokens: Iterable[int], state: int = 0) -> int:
        """Where several tokens lead."""
        for token in tokens:
            state = self.step(state, int(token))
        return state

    def edges_of(self, state: int) -> tuple[Int32s, Int32s, int]:
        """Listed tokens with their targets, ``OUTSIDE`` for none, and that of all others."""
        row, first, _ = self.states[state]
        begin, count, rest = self.rows[row]
        tokens, places = self.edges[begin : begin + count].T
        targets = np.where(places < 0, OUTSIDE, self.next[first + np.maximum(places, 0)])
        return (
            tokens,
            targets.astype(np.int32),
            OUTSIDE if rest < 0 else int(self.next[first + rest]),
        )

    def is_marked(self, state: int) -> bool:
        """Whether a state has its mark."""
        return state >= 0 and bool(self.states[state, 2])

    @cached_property
    def widths(self) -> Int32s:
        """How many targets each state has, int32 ``[Q]``."""
        order = np.argsort(self.states[:, 1], kind="stable")
        firsts = np.append(self.states[order, 1], len(self.next))
        widths = np.empty(len(self), np.int32)
        widths[order] = np.diff(firsts)
        return widths

    def targets_of(self, state: int) -> Int32s:
        """The different states to which a state leads."""
        first = self.states[state, 1]
        return self.next[first : first + self.widths[state]]


class Table:
    """Takes states one after the other and lays them out; equal rows are kept once."""

    def __init__(self, states: int) -> None:
        """Expect targets below a number of states."""
        self._rows: dict[tuple[int, bytes, bytes], int] = {}
        self._row_parts: list[tuple[int, int, int]] = []
        self._edges: list[Int32s] = []
        self._states: list[tuple[int, int, int]] = []
        self._next: list[Int32s] = []
        self._edge_count = self._next_count = 0
        self._first = np.zeros(states, np.int64)  # scratch: where a target comes first
        self._number = np.zeros(states, np.int32)  # and which of the state's it is

    @property
    def edge_count(self) -> int:
        """Edges so far."""
        return self._edge_count

    def add(
        self, tokens: npt.NDArray[np.integer], targets: npt.NDArray[np.integer], *, marked: bool
    ) -> None:
        """A state that takes some tokens, in ascending order, and no others."""
        classes, distinct = self._classes(targets)
        self._state(-1, tokens.astype(np.int32), classes, distinct, marked)

    def add_dense(self, targets: npt.NDArray[np.integer], *, marked: bool) -> None:
        """A state with a target, or a negative number, for each token id."""
        taken = np.flatnonzero(targets >= 0)
        if 2 * len(taken) < len(targets):
            self.add(taken, targets[taken], marked=marked)
            return
        classes = np.full(len(targets), -1, np.int32)
        classes[taken], distinct = self._classes(targets[taken])
        rest = int(np.argmax(np.bincount(classes[taken])))
        others = np.flatnonzero(classes != rest)
        if len(others) > len(taken):
            self.add(taken, targets[taken], marked=marked)
            return
        self._state(rest, others.astype(np.int32), classes[others], distinct, marked)

    def finished(self) -> Automaton:
        """The automaton of all states."""
        edges = np.concatenate([np.zeros((0, 2), np.int32), *self._edges])
        following = np.concatenate([np.zeros(0, np.int32), *self._next])
        # a graph gathers from both, so that neither may be empty
        return Automaton(
            np.array(self._states, np.int32).reshape(-1, 3),
            np.array(self._row_parts, np.int32).reshape(-1, 3),
            edges if len(edges) else np.array([[0, -1]], np.int32),
            following if len(following) else np.zeros(1, np.int32),
        )

    def _classes(self, targets: npt.NDArray[np.integer]) -> tuple[Int32s, Int32s]:
        """Targets as numbers in the order of their first coming, and the different ones."""
        place = np.arange(len(targets))
        self._first[targets[::-1]] = place[::-1]
        distinct = targets[self._first[targets] == place].astype(np.int32)
        self._number[distinct] = np.arange(len(distinct), dtype=np.int32)
        return self._number[targets], distinct

    def _state(
        self, rest: int, tokens: Int32s, classes: Int32s, distinct: Int32s, marked: bool
    ) -> None:
        key = rest, tokens.tobytes(), classes.tobytes()
        row = self._rows.setdefault(key, len(self._rows))
        if row == len(self._row_parts):
            self._row_parts.append((self._edge_count, len(tokens), rest))
            self._edges.append(np.stack([tokens, classes], axis=1))
            self._edge_count += len(tokens)
        self._states.append((row, self._next_count, int(marked)))
        self._next.append(distinct)
        self._next_count += len(distinct)


def joined(automata: Iterable[Automaton]) -> tuple[Automaton, list[int]]:
    """Several automata as one, and the first state of each in it."""
    parts = list(automata)
    if len(parts) == 1:
        return parts[0], [0]
    firsts, state, row, edge, target = [], 0, 0, 0, 0
    arrays: dict[str, list[Int32s]] = {part: [] for part in PARTS}
    for each in parts:
        firsts.append(state)
        arrays["states"].append(each.states + np.array([row, target, 0], np.int32))
        arrays["rows"].append(each.rows + np.array([edge, 0, 0], np.int32))
        arrays["edges"].append(each.edges)
        arrays["next"].append(each.next + np.int32(state))
        state, row = state + len(each.states), row + len(each.rows)
        edge, target = edge + len(each.edges), target + len(each.next)
    return Automaton(**{part: np.concatenate(arrays[part]) for part in PARTS}), firsts
