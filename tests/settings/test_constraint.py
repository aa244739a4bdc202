"""Constraints by hand, and the functions that keep a search inside one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.onnx_functions import run
from support.scores import compiled
from transformers.generation.logits_process import PrefixConstrainedLogitsProcessor

from beamgen import BeamgenError
from beamgen.search.functions import constraint as functions
from beamgen.settings.automaton import Automaton, Table, joined
from beamgen.settings.constraint import Constraint

INF = float("inf")
V, EOS = 16, [14, 15]

ENTRIES = [[3, 4, 5], [3, 4], [3, 7], [0], [8, 8, 8, 8], [3, 4, 5, 6, 7], [9, 0, 1]]
# of ENTRIES; -1 where an entry ends
NODE_OF = {
    (): ([0, 3, 8, 9], False),
    (0,): ([], True),
    (3,): ([4, 7], False),
    (3, 4): ([5], True),
    (3, 4, 5): ([6], True),
    (3, 4, 5, 6): ([7], False),
    (3, 4, 5, 6, 7): ([], True),
    (8, 8): ([8], False),
    (9, 0): ([1], False),
}
OUTSIDE = [(1,), (3, 5), (0, 0), (0, -1), (3, 4, 5, 6, 7, 8), (9, 0, 1, 14), (15,), (-1,), (2**40,)]


def inputs(catalogue: Constraint) -> list[np.ndarray]:
    """What ``next_nodes`` reads of it."""
    return [*catalogue.automaton.arrays().values()]


def readable(catalogue: Constraint) -> list[np.ndarray]:
    """What its processor reads of it."""
    return inputs(catalogue)[:3]


# -- the builder


def test_a_catalogue_by_hand() -> None:
    found = Constraint.choices([[5, 9], [5], [2, 7]]).automaton
    # state 1 is after 2, state 2 after 2 7, state 3 after 5, state 4 after 5 9
    assert found.states.tolist() == [[0, 0, 0], [1, 2, 0], [2, 3, 1], [3, 3, 1], [2, 4, 1]]
    assert found.rows.tolist() == [[0, 2, -1], [2, 1, -1], [3, 0, -1], [3, 1, -1]]
    assert found.edges.tolist() == [[2, 0], [5, 1], [7, 0], [9, 0]]
    assert found.next.tolist() == [1, 3, 2, 4]
    assert {array.dtype for array in found.arrays().values()} == {np.dtype(np.int32)}


def test_states_that_take_nearly_all_list_what_they_do_not() -> None:
    table = Table(9)
    table.add_dense(np.array([3, 3, -1, 3, 4, 3]), marked=True)
    table.add_dense(np.array([7, 7, -1, 7, 8, 7]), marked=False)
    table.add_dense(np.array([-1, 5, -1, -1, -1, -1]), marked=False)
    found = table.finished()
    # the first two differ in their targets alone: 0 is the one of most tokens
    assert found.rows.tolist() == [[0, 2, 0], [2, 1, -1]]
    assert found.edges.tolist() == [[2, -1], [4, 1], [1, 0]]
    assert found.states.tolist() == [[0, 0, 1], [0, 2, 0], [1, 4, 0]]
    assert found.next.tolist() == [3, 4, 7, 8, 5]
    assert [found.step(1, token) for token in (0, 2, 4)] == [7, -1, 8]
    assert found.targets_of(1).tolist() == [7, 8]


def test_automata_side_by_side_lead_where_each_leads() -> None:
    rng = np.random.default_rng(0)
    parts = [random_automaton(rng, states, 40) for states in (3, 1, 7)]
    whole, firsts = joined(parts)
    assert firsts == [0, 3, 4]
    for part, first in zip(parts, firsts, strict=True):
        for state, token in itertools.product(range(len(part)), range(40)):
            led = part.step(state, token)
            assert whole.step(first + state, token) == (led if led < 0 else first + led)
            assert whole.is_marked(first + state) == part.is_marked(state)


def random_automaton(rng: np.random.Generator, states: int, vocab: int) -> Automaton:
    """Some states that take few tokens, and some that take nearly all."""
    table = Table(states)
    for _ in range(states):
        targets = rng.integers(0, states, vocab)
        targets[rng.random(vocab) < rng.choice([0.05, 0.5, 0.9])] = -1
        table.add_dense(targets, marked=bool(rng.random() < 0.5))
    return table.finished()


@pytest.mark.parametrize("seed", range(4))
def test_functions_walk_any_automaton_as_python_does(seed: int) -> None:
    """Edges that form no tree, states that list what they do not take, rows that none binds."""
    rng = np.random.default_rng(seed)
    vocab, eos = 30, [30, 31]
    automaton = random_automaton(rng, 12, vocab + 2)
    constraint = Constraint(automaton, vocab_size=vocab + 2)
    node = rng.integers(-2, 12, (3, 5))
    scores = rng.normal(size=(3, 5, vocab + 2)).astype(np.float32)
    (found,) = run(compiled.within_constraint, scores, node, *readable(constraint), eos)
    for state, row, before in zip(
        node.ravel(), found.reshape(15, -1), scores.reshape(15, -1), strict=True
    ):
        ends = eos if constraint.automaton.is_marked(state) else []
        may_come = {*constraint.tokens_from(state).tolist(), *ends} - ({*eos} - {*ends})
        may_come = set(range(vocab + 2)) if state == -2 else may_come
        assert set(np.flatnonzero(np.isfinite(row))) == may_come
        assert np.array_equal(row[[*may_come]], before[[*may_come]])
    tokens = rng.integers(0, vocab, (3, 5))
    order = np.broadcast_to(np.arange(5), (3, 5))
    (after,) = run(functions.next_nodes, node, order, tokens, *inputs(constraint))
    expected = [automaton.step(s, t) for s, t in zip(node.ravel(), tokens.ravel(), strict=True)]
    assert after.ravel().tolist() == expected


def test_any_automaton_by_its_edges() -> None:
    found = Constraint.of([(0, 5, 3), (3, 6, 3), (3, 7, 8)], ends=[8])
    assert found.allowed([5, 6, 6]) == ([6, 7], False)
    assert found.allowed([5, 7]) == ([], True)
    assert found.shortest == 2
    assert found.states == 3


@pytest.mark.parametrize(
    ("edges", "ends", "cause"),
    [
        ([(0, 5, 1), (1, 6, 2), (0, 7, 3)], [2], "dead end: from state 3"),
        ([(0, 5, 1), (1, 6, 0)], [], "dead end: from state 0"),
        ([(0, 5, 1), (0, 5, 2)], [1, 2], "two edges of state 0 take the token 5"),
        ([(0, 5, 1)], [9], "may end in state 9, which no edge has"),
        ([(0, -5, 1)], [1], "an edge is a state"),
        ([(0, 5)], [1], "an edge is a state"),
        ([], [0], "takes no token"),
    ],
)
def test_what_is_no_automaton_is_refused(edges: Any, ends: Any, cause: str) -> None:
    with pytest.raises(BeamgenError, match=cause):
        Constraint.of(edges, ends)


def test_a_saved_constraint_is_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    saved = Constraint(random_automaton(rng, 9, 40), "some automaton", 40)
    saved.save(tmp_path / "c.npz")
    found = Constraint.load(tmp_path / "c.npz")
    assert (found.what, found.vocab_size) == ("some automaton", 40)
    for mine, its in zip(inputs(found), inputs(saved), strict=True):
        assert mine.dtype == its.dtype
        assert np.array_equal(mine, its)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("states", [[9, 0, 0]]),
        ("states", [[0, 9, 0]]),
        ("rows", [[0, 9, -1]]),
        ("rows", [[5, -5, -1]]),
        ("rows", [[0, 2, 3]]),
        ("edges", [[5, 7], [6, 0]]),
        ("edges", [[6, 0], [5, 0]]),
        ("edges", [[-6, 0], [5, 0]]),
        ("next", [4, 4, 4, 4]),
        ("next", []),
        ("states", [[0.5, 0, 0]]),
    ],
)
def test_a_damaged_file_is_refused(part: str, value: Any, tmp_path: Path) -> None:
    Constraint.choices([[5, 6], [7]]).save(tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as stored:
        arrays = dict(stored)
    dtype = np.float64 if value and isinstance(np.ravel(value)[0], np.floating) else np.int32
    arrays[f"constraint_{part}"] = np.array(value, dtype)
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(BeamgenError, match="holds no constraint"):
        Constraint.load(tmp_path / "c.npz")


def test_what_is_no_file_of_a_constraint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.npz").write_bytes(b"nothing of the kind")
    with pytest.raises(BeamgenError, match=r"holds no constraint|cannot read"):
        Constraint.load(tmp_path / "c.npz")
    with pytest.raises(BeamgenError, match="cannot read"):
        Constraint.load(tmp_path / "none.npz")
    with pytest.raises(BeamgenError, match=r"no name of an \.npz file"):
        Constraint.choices([[5]]).save(tmp_path / "c.bin")


@pytest.mark.parametrize(
    "entries",
    [
        [[1, 2], [1, 2], [3], [1, 2]],
        [[3], [1, 2]],
        (entry for entry in ([1, 2], [3])),
        [np.array([1, 2]), (np.int32(3),)],
        {(1, 2), (3,)},
    ],
)
def test_neither_order_nor_repetition_nor_type_of_entries_matters(entries: Any) -> None:
    found, expected = Constraint.choices(entries), Constraint.choices([[1, 2], [3]])
    assert found.what == "2 entries"
    for mine, its in zip(inputs(found), inputs(expected), strict=True):
        assert np.array_equal(mine, its)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [[]],
        [[1, 2], []],
        [[1], [2, -1]],
        [[1], [2.5]],
        [["a"]],
        ["ab"],
        [5],
        [None],
        [[2**31]],
        [[1, None]],
    ],
)
def test_what_is_no_catalogue_is_refused(entries: Any) -> None:
    with pytest.raises(BeamgenError) as raised:
        Constraint.choices(entries)
    for line in (raised.value.cause, raised.value.cure):
        assert line.strip()
        assert "\n" not in line
    assert "catalogue" in raised.value.cause


def test_the_error_names_the_entry() -> None:
    with pytest.raises(BeamgenError, match=r"\[2, -7\]"):
        Constraint.choices([[1], [2, -7]])


def test_what_may_follow_a_prefix() -> None:
    catalogue = Constraint.choices(ENTRIES)
    for prefix, expected in NODE_OF.items():
        assert catalogue.allowed(prefix) == expected
    for prefix in OUTSIDE:
        assert catalogue.allowed(prefix) == ([], False)


def test_allowed_gives_back_exactly_the_entries() -> None:
    rng = np.random.default_rng(0)
    entries = {tuple(rng.integers(0, 4, rng.integers(1, 7)).tolist()) for _ in range(80)}
    catalogue = Constraint.choices(entries)
    found, prefixes = set(), [()]
    while prefixes:
        prefix = prefixes.pop()
        following, ends = catalogue.allowed(prefix)
        if ends:
            found.add(prefix)
        prefixes += [(*prefix, token) for token in following]
    assert found == entries
    assert catalogue.what == f"{len(entries)} entries"


# -- within it


def nodes_of(catalogue: Constraint, prefixes: list[tuple[int, ...]]) -> np.ndarray:
    """Where each prefix ``[n]`` leads."""
    return np.array([catalogue.state(prefix) for prefix in prefixes], np.int64)


@pytest.mark.parametrize("eos", [[], [14], EOS, [14, 15, 2]])
def test_within_a_catalogue_equals_hf(eos: list[int]) -> None:
    catalogue, prompt = Constraint.choices(ENTRIES), [7, 7]
    prefixes = [prefix for prefix in NODE_OF if eos or NODE_OF[prefix][0]]
    prefixes = prefixes[: len(prefixes) // 2 * 2]
    scores = np.random.default_rng(0).normal(size=(2, len(prefixes) // 2, V)).astype(np.float32)
    scores[:, :, 4] = -INF

    def allowed(_batch: int, sentence: torch.Tensor) -> list[int]:
        text = [token for token in sentence.tolist()[len(prompt) :] if token != 13]
        tokens, ends = catalogue.allowed(text)
        return tokens + (eos if ends else [])

    (found,) = run(
        compiled.within_constraint,
        scores,
        nodes_of(catalogue, prefixes).reshape(2, -1),
        *readable(catalogue),
        np.array(eos, np.int64),
    )
    longest = max(map(len, prefixes))
    # HF takes prefixes of one length: 13 fills them here
    sentences = [[*prompt, *prefix, *[13] * (longest - len(prefix))] for prefix in prefixes]
    processor = PrefixConstrainedLogitsProcessor(allowed, len(prefixes) // 2)
    expected = processor(torch.tensor(sentences), torch.tensor(scores.reshape(-1, V)))
    assert np.array_equal(found.reshape(-1, V), expected.numpy())
    assert np.isfinite(found).any(-1).sum() >= len(prefixes) - 1


def test_before_the_first_step_beams_stand_at_the_root() -> None:
    catalogue = Constraint.choices(ENTRIES)
    (found,) = run(
        compiled.within_constraint,
        np.zeros((2, 1, V), np.float32),
        np.zeros((2, 5), np.int64),
        *readable(catalogue),
        EOS,
    )
    assert found.shape == (2, 1, V)
    assert np.flatnonzero(np.isfinite(found[0, 0])).tolist() == [0, 3, 8, 9]
    assert np.array_equal(found[0], found[1])


def test_outside_the_catalogue_nothing_may_come() -> None:
    catalogue = Constraint.choices(ENTRIES)
    for node in ([[-1, 0]], [[-1, -1]]):
        (found,) = run(
            compiled.within_constraint,
            np.zeros((1, 2, V), np.float32),
            node,
            *readable(catalogue),
            EOS,
        )
        assert np.isneginf(found[0, 0]).all()
        assert np.isfinite(found[0, 1]).any() == (node[0][1] == 0)


def test_an_eos_may_come_where_an_entry_ends_and_nowhere_else() -> None:
    catalogue = Constraint.choices(ENTRIES)
    (found,) = run(
        compiled.within_constraint,
        np.zeros((1, 9, V), np.float32),
        nodes_of(catalogue, list(NODE_OF))[None],
        *readable(catalogue),
        EOS,
    )
    for beam, (tokens, ends) in enumerate(NODE_OF.values()):
        expected = tokens + (EOS if ends else [])
        assert np.flatnonzero(found[0, beam] == 0).tolist() == expected


def test_without_a_catalogue_no_bit_changes() -> None:
    scores = np.array([[[-0.0, np.nan, INF, -INF, 1e-42]]], np.float32)
    nothing = [array[:0] for array in readable(Constraint.choices([[5]]))]
    (found,) = run(compiled.within_constraint, scores, [[0]], *nothing, [2])
    assert found.tobytes() == scores.tobytes()


# -- from node to node


def test_next_nodes_by_hand() -> None:
    # 0 -5-> 1 -6-> 2 (end); 0 -8-> 3 (end)
    found = run(
        functions.next_nodes,
        [[0, 1, -1, 2]],
        [[0, 0, 1, 2, 3, 1]],  # whom each beam follows
        [[5, 8, 6, 5, 5, 5]],
        *inputs(Constraint.choices([[5, 6], [8]])),
    )[0]
    assert found.tolist() == [[1, 3, 2, -1, -1, -1]]


def test_an_eos_or_a_fill_token_leads_out() -> None:
    catalogue = Constraint.choices([[5], [5, 0]])
    at_end = nodes_of(catalogue, [(5,)])[0]
    found = run(
        functions.next_nodes, [[at_end] * 3], [[0, 1, 2]], [[14, 0, 13]], *inputs(catalogue)
    )[0]
    assert found.tolist() == [[-1, nodes_of(catalogue, [(5, 0)])[0], -1]]


def test_without_a_catalogue_nodes_follow_their_beams() -> None:
    nothing = [array[:0] for array in inputs(Constraint.choices([[5]]))]
    found = run(functions.next_nodes, [[0, 4, 0]], [[1, 1, 2]], [[3, 4, 5]], *nothing)[0]
    assert found.tolist() == [[4, 4, 0]]


def test_walks_inside_and_outside_end_where_the_prefix_does() -> None:
    rng = np.random.default_rng(0)
    batch, beams, vocab = 3, 30, 4
    entries = [rng.integers(0, vocab, rng.integers(1, 9)).tolist() for _ in range(60)]
    catalogue = Constraint.choices(entries)
    node = np.zeros((batch, beams), np.int64)
    prefixes: list[list[tuple[int, ...]]] = [[()] * beams] * batch
    inside = []
    for _ in range(7):
        parents = rng.integers(0, beams, (batch, beams))
        prefixes = [
            [prefixes[row][parent] + _step(rng, catalogue, prefixes[row][parent], vocab)
             for parent in parents[row]]
            for row in range(batch)
        ]  # fmt: skip
        tokens = [[prefix[-1] for prefix in row] for row in prefixes]
        (node,) = run(functions.next_nodes, node, parents, tokens, *inputs(catalogue))
        assert np.array_equal(node, [nodes_of(catalogue, row) for row in prefixes])
        inside.append((node >= 0).mean())
        (found,) = run(
            compiled.within_constraint,
            np.zeros((batch, beams, vocab + 1), np.float32),
            node,
            *readable(catalogue),
            [vocab],
        )
        for may_come, prefix in zip(
            found.reshape(-1, vocab + 1), itertools.chain(*prefixes), strict=True
        ):
            following, ends = catalogue.allowed(prefix)
            assert np.flatnonzero(may_come == 0).tolist() == following + [vocab] * ends
    assert 0.1 < min(inside) < 0.9


def _step(
    rng: np.random.Generator, catalogue: Constraint, prefix: tuple[int, ...], vocab: int
) -> tuple[int]:
    """Mostly a token that stays inside."""
    following, _ = catalogue.allowed(prefix)
    if following and rng.random() < 0.97:
        return (int(rng.choice(following)),)
    return (int(rng.integers(vocab)),)
