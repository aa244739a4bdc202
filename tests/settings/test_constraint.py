"""The trie of a catalogue, and the functions that keep a search inside it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from support.onnx_functions import run
from support.scores import compiled
from transformers.generation.logits_process import PrefixConstrainedLogitsProcessor

from beamgen import BeamgenError
from beamgen.search.functions import catalogue as functions
from beamgen.settings.catalogue import Catalogue

INF = float("inf")
NOTHING = np.array([], np.int64)
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


def inputs(catalogue: Catalogue) -> list[np.ndarray]:
    return [catalogue.offsets, catalogue.tokens, catalogue.next]


# -- the builder


def test_a_catalogue_by_hand() -> None:
    found = Catalogue.of([[5, 9], [5], [2, 7]])
    # node 1 is after 2, node 2 after 2 7, node 3 after 5, node 4 after 5 9
    assert found.offsets.tolist() == [0, 2, 3, 4, 6, 7]
    assert found.tokens.tolist() == [2, 5, 7, -1, -1, 9, -1]
    assert found.next.tolist() == [1, 3, 2, -1, -1, 4, -1]
    assert found.size == 3
    assert {array.dtype for array in inputs(found)} == {np.dtype(np.int64)}


def test_every_node_but_the_root_is_led_to_once() -> None:
    found = Catalogue.of(ENTRIES)
    nodes = len(found.offsets) - 1
    assert sorted(found.next[found.next >= 0]) == list(range(1, nodes))
    assert found.offsets[0] == 0
    assert found.offsets[-1] == len(found.tokens) == len(found.next)
    assert ((found.tokens == -1) == (found.next == -1)).all()
    assert (found.tokens == -1).sum() == found.size == len(ENTRIES)
    for first, last in zip(found.offsets, found.offsets[1:], strict=False):
        assert first < last
        assert (np.diff(found.tokens[first:last]) > 0).all()


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
    found, expected = Catalogue.of(entries), Catalogue.of([[1, 2], [3]])
    assert found.size == 2
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
        Catalogue.of(entries)
    for line in (raised.value.cause, raised.value.cure):
        assert line.strip()
        assert "\n" not in line
    assert "catalogue" in raised.value.cause


def test_the_error_names_the_entry() -> None:
    with pytest.raises(BeamgenError, match=r"\[2, -7\]"):
        Catalogue.of([[1], [2, -7]])


def test_what_may_follow_a_prefix() -> None:
    catalogue = Catalogue.of(ENTRIES)
    for prefix, expected in NODE_OF.items():
        assert catalogue.allowed(prefix) == expected
    for prefix in OUTSIDE:
        assert catalogue.allowed(prefix) == ([], False)


def test_allowed_gives_back_exactly_the_entries() -> None:
    rng = np.random.default_rng(0)
    entries = {tuple(rng.integers(0, 4, rng.integers(1, 7)).tolist()) for _ in range(80)}
    catalogue = Catalogue.of(entries)
    found, prefixes = set(), [()]
    while prefixes:
        prefix = prefixes.pop()
        following, ends = catalogue.allowed(prefix)
        if ends:
            found.add(prefix)
        prefixes += [(*prefix, token) for token in following]
    assert found == entries
    assert catalogue.size == len(entries)


# -- within it


def nodes_of(catalogue: Catalogue, prefixes: list[tuple[int, ...]]) -> np.ndarray:
    """Where each prefix ``[n]`` leads, walked by hand."""
    found = []
    for prefix in prefixes:
        node = 0
        for token in prefix:
            edges = range(catalogue.offsets[node], catalogue.offsets[node + 1]) if node >= 0 else ()
            node = next((catalogue.next[e] for e in edges if catalogue.tokens[e] == token), -1)
        found.append(node)
    return np.array(found, np.int64)


def test_edges_of_nodes_by_hand() -> None:
    # node 0 has edges 0 and 1, node 1 edge 2, node 2 none
    edges, exists = run(functions.edges_of, [[0, 1, 2, -1]], [0, 2, 3, 3])
    assert exists.tolist() == [[[True, True], [True, False], [False, False], [False, False]]]
    assert edges.tolist() == [[[0, 1], [2, 0], [0, 0], [0, 0]]]
    # of nodes without edges still one, which is not there
    _, exists = run(functions.edges_of, [[2, -1]], [0, 2, 3, 3])
    assert exists.tolist() == [[[False], [False]]]


@pytest.mark.parametrize("eos", [[], [14], EOS, [14, 15, 2]])
def test_within_a_catalogue_equals_hf(eos: list[int]) -> None:
    catalogue, prompt = Catalogue.of(ENTRIES), [7, 7]
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
        catalogue.offsets,
        catalogue.tokens,
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
    catalogue = Catalogue.of(ENTRIES)
    (found,) = run(
        compiled.within_constraint,
        np.zeros((2, 1, V), np.float32),
        np.zeros((2, 5), np.int64),
        catalogue.offsets,
        catalogue.tokens,
        EOS,
    )
    assert found.shape == (2, 1, V)
    assert np.flatnonzero(np.isfinite(found[0, 0])).tolist() == [0, 3, 8, 9]
    assert np.array_equal(found[0], found[1])


def test_outside_the_catalogue_nothing_may_come() -> None:
    catalogue = Catalogue.of(ENTRIES)
    for node in ([[-1, 0]], [[-1, -1]]):
        (found,) = run(
            compiled.within_constraint,
            np.zeros((1, 2, V), np.float32),
            node,
            catalogue.offsets,
            catalogue.tokens,
            EOS,
        )
        assert np.isneginf(found[0, 0]).all()
        assert np.isfinite(found[0, 1]).any() == (node[0][1] == 0)


def test_an_eos_may_come_where_an_entry_ends_and_nowhere_else() -> None:
    catalogue = Catalogue.of(ENTRIES)
    (found,) = run(
        compiled.within_constraint,
        np.zeros((1, 9, V), np.float32),
        nodes_of(catalogue, list(NODE_OF))[None],
        catalogue.offsets,
        catalogue.tokens,
        EOS,
    )
    for beam, (tokens, ends) in enumerate(NODE_OF.values()):
        expected = tokens + (EOS if ends else [])
        assert np.flatnonzero(found[0, beam] == 0).tolist() == expected


def test_without_a_catalogue_no_bit_changes() -> None:
    scores = np.array([[[-0.0, np.nan, INF, -INF, 1e-42]]], np.float32)
    (found,) = run(compiled.within_constraint, scores, [[0]], NOTHING, NOTHING, [2])
    assert found.tobytes() == scores.tobytes()


# -- from node to node


def test_next_nodes_by_hand() -> None:
    # 0 -5-> 1 -6-> 2 (end); 0 -8-> 3 (end)
    found = run(
        functions.next_nodes,
        [[0, 1, -1, 2]],
        [[0, 0, 1, 2, 3, 1]],  # whom each beam follows
        [[5, 8, 6, 5, 5, 5]],
        *inputs(Catalogue.of([[5, 6], [8]])),
    )[0]
    assert found.tolist() == [[1, 3, 2, -1, -1, -1]]


def test_an_eos_or_a_fill_token_leads_out() -> None:
    catalogue = Catalogue.of([[5], [5, 0]])
    at_end = nodes_of(catalogue, [(5,)])[0]
    found = run(
        functions.next_nodes, [[at_end] * 3], [[0, 1, 2]], [[14, 0, 13]], *inputs(catalogue)
    )[0]
    assert found.tolist() == [[-1, nodes_of(catalogue, [(5, 0)])[0], -1]]


def test_without_a_catalogue_nodes_follow_their_beams() -> None:
    found = run(
        functions.next_nodes, [[0, 4, 0]], [[1, 1, 2]], [[3, 4, 5]], NOTHING, NOTHING, NOTHING
    )[0]
    assert found.tolist() == [[4, 4, 0]]


def test_walks_inside_and_outside_end_where_the_prefix_does() -> None:
    rng = np.random.default_rng(0)
    batch, beams, vocab = 3, 30, 4
    entries = [rng.integers(0, vocab, rng.integers(1, 9)).tolist() for _ in range(60)]
    catalogue = Catalogue.of(entries)
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
            catalogue.offsets,
            catalogue.tokens,
            [vocab],
        )
        for may_come, prefix in zip(
            found.reshape(-1, vocab + 1), itertools.chain(*prefixes), strict=True
        ):
            following, ends = catalogue.allowed(prefix)
            assert np.flatnonzero(may_come == 0).tolist() == following + [vocab] * ends
    assert 0.1 < min(inside) < 0.9


def _step(
    rng: np.random.Generator, catalogue: Catalogue, prefix: tuple[int, ...], vocab: int
) -> tuple[int]:
    """Mostly a token that stays inside."""
    following, _ = catalogue.allowed(prefix)
    if following and rng.random() < 0.97:
        return (int(rng.choice(following)),)
    return (int(rng.integers(vocab)),)
