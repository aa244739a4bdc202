"""What later releases of transformers do otherwise, by hand, and as the installed one does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from support.onnx_functions import run
from support.scores import INF, by_hf, compiled, ids, right_aligned
from transformers.generation import logits_process as hf

from beamgen import Constraint, Generator, open_checkpoint
from beamgen.runtime.feeds import parameter_feeds
from beamgen.runtime.session import session_of
from beamgen.search.functions import later_rules
from beamgen.search.functions.processors import ends_with
from beamgen.search.traced import with_trace_outputs
from beamgen.settings.prompts import left_pad
from beamgen.settings.rules import RULES, installed_rules

RELEASES = ("4.57", "5.18", "5.23", "5.24")
INSTALLED = installed_rules()

# -- a biased sequence may begin with the first id of the prompt


def test_a_sequence_may_begin_with_the_first_id() -> None:
    history = np.array([[[82]]])
    sequences = right_aligned([[82, 39], [7, 82, 39], [39]])
    (before,) = run(ends_with, history, sequences)
    assert before.tolist() == [[[False, False, True]]]
    (longer,) = run(later_rules.one_id_before, history)
    assert longer.tolist() == [[[-2, 82]]]
    (found,) = run(ends_with, longer, sequences)
    assert found.tolist() == [[[True, False, True]]]


def test_a_bias_reaches_as_far_back_as_in_the_installed_hf() -> None:
    biases = {(4,): 1.0, (9, 5): 2.0, (3, 9, 6): 4.0, (1, 3, 9, 7): 8.0}
    history, scores = np.array([[[3, 9]]]), np.zeros((1, 1, 20), np.float32)
    read = run(later_rules.one_id_before, history)[0] if INSTALLED.bias_reaches_back else history
    sequences = right_aligned([list(sequence) for sequence in biases])
    (found,) = run(compiled.sequence_bias, scores, read, sequences, list(biases.values()))
    expected = by_hf(hf.SequenceBiasLogitsProcessor(biases), history, scores, 20)
    assert np.array_equal(found, expected)
    reached = 4.0 if INSTALLED.bias_reaches_back else 0.0
    assert found[0, 0, 4:8].tolist() == [1.0, 2.0, reached, 0.0]


# -- the repetition penalty passes over left padding


@pytest.mark.parametrize(
    ("mask", "read"),
    [
        ([0, 0, 1, 1], [9, 9, 25, 9, 9]),  # one more was generated since
        ([1, 1, 1, 1], [73, 73, 25, 9, 9]),
        ([0, 1, 0, 1], [9, 73, 25, 9, 9]),  # what comes later is no left padding
        ([0, 0, 0, 0], [73, 73, 25, 9, 9]),  # nor is it where there is nothing else
    ],
)
def test_padding_is_read_as_the_last_id(mask: list[int], read: list[int]) -> None:
    history = np.array([[[73, 73, 25, 9, 9]]])
    (found,) = run(later_rules.without_padding, history, np.array([mask]))
    assert found.tolist() == [[read]]


def test_each_row_has_its_own_padding() -> None:
    history = np.array([[[7, 7, 5]] * 2, [[7, 6, 4]] * 2])
    (found,) = run(later_rules.without_padding, history, np.array([[0, 0], [0, 1]]))
    assert found.tolist() == [[[7, 7, 5]] * 2, [[4, 6, 4]] * 2]


def test_what_is_penalised_is_what_the_installed_hf_penalises() -> None:
    history, mask = (
        np.array([[[8, 8, 3, 5]], [[8, 2, 3, 5]]]),
        np.array([[0, 0, 1, 1], [0, 1, 1, 1]]),
    )
    scores = np.full((2, 1, 20), 2.0, np.float32)
    spared = INSTALLED.penalty_spares_padding
    read = run(later_rules.without_padding, history, mask)[0] if spared else history
    (found,) = run(compiled.repetition_penalty, scores, read, [4.0])
    ignored = {"prompt_ignore_length": torch.tensor([2, 1])} if spared else {}
    processor = hf.RepetitionPenaltyLogitsProcessor(4.0, **ignored)
    assert np.array_equal(found, by_hf(processor, history, scores, 20))
    assert found[0, 0, [8, 3, 5, 2]].tolist() == [2.0 if spared else 0.5, 0.5, 0.5, 2.0]
    assert found[1, 0, [8, 3, 5, 2]].tolist() == [2.0 if spared else 0.5, 0.5, 0.5, 0.5]


# -- a constraint wins over bans that leave nothing of it

#: Of the entries 5 9, 5 8 and 6: nodes 0 (5 or 6), 1 (9 or 8), and the ends 2, 3 and 4.
TRIE = Constraint.choices([[5, 8], [5, 9], [6]])
ROOT = 0
NODE_OF_5 = TRIE.state([5])
ARRAYS = [TRIE.automaton.states, TRIE.automaton.rows, TRIE.automaton.edges]


def _forced(scores: list[list[float]], node: list[int], apart: bool) -> np.ndarray:
    """Scores ``[n, V]`` of a row within the constraint, and then those of ``into_constraint``."""
    given = np.array([scores], np.float32)
    trie = (np.array([node]), *ARRAYS, ids(2))
    (within,) = run(compiled.within_constraint, given, *trie)
    (found,) = run(later_rules.into_constraint, within, *trie, np.array(apart))
    return found[0]


FREE, BANNED = [-1.0] * 10, [*[-1.0] * 5, -INF, -INF, -1.0, -1.0, -1.0]
NOTHING = [-INF] * 10


def only(**allowed: float) -> list[float]:
    return [allowed.get(f"t{token}", -INF) for token in range(10)]


@pytest.mark.parametrize(
    ("scores", "node", "apart", "expected"),
    [
        pytest.param([BANNED], [ROOT], False, [only(t5=0.0, t6=0.0)], id="nothing is left"),
        pytest.param([FREE], [ROOT], False, [only(t5=-1.0, t6=-1.0)], id="all is left"),
        pytest.param(
            [BANNED, FREE], [ROOT, NODE_OF_5], False, [NOTHING, only(t8=-1.0, t9=-1.0)],
            id="another beam has something",
        ),
        pytest.param(
            [BANNED, FREE], [ROOT, NODE_OF_5], True, [only(t5=0.0, t6=0.0), only(t8=-1.0, t9=-1.0)],
            id="each for itself",
        ),
        pytest.param([BANNED, FREE], [ROOT, -1], False, [NOTHING, NOTHING], id="a beam is outside"),
    ],
)  # fmt: skip
def test_a_constraint_wins(
    scores: list[list[float]], node: list[int], apart: bool, expected: list[list[float]]
) -> None:
    assert _forced(scores, node, apart).tolist() == expected


def test_without_a_constraint_nothing_is_forced() -> None:
    none = [array[:0] for array in ARRAYS]
    (found,) = run(
        later_rules.into_constraint,
        np.array([[NOTHING]], np.float32), np.array([[0]]), *none, ids(2), np.array(False),
    )  # fmt: skip
    assert found.tolist() == [[NOTHING]]


def test_a_constraint_wins_where_it_does_in_the_installed_hf() -> None:
    allowed = {0: [5, 6], 1: [8, 9]}
    scores = np.array([[BANNED, BANNED], [BANNED, FREE]], np.float32)
    history = np.array([[[0], [1]], [[0], [1]]])
    processor = hf.PrefixConstrainedLogitsProcessor(lambda _, row: allowed[int(row[-1])], 2)
    expected = by_hf(processor, history, scores, 10)
    rows = []
    for row in scores.tolist():
        given = np.array([row], np.float32)
        trie = (np.array([[ROOT, NODE_OF_5]]), *ARRAYS, ids(2))
        (within,) = run(compiled.within_constraint, given, *trie)
        if INSTALLED.constraint_wins:
            (within,) = run(later_rules.into_constraint, within, *trie, np.array(False))
        rows.append(within[0])
    assert np.array_equal(np.stack(rows), expected)


# -- draws are sorted


def test_draws_come_in_the_order_of_their_scores() -> None:
    scores = np.array([[-3.0, -1.0, -2.0], [-5.0, -INF, -4.0]], np.float32)
    found = run(later_rules.best_first, scores, [[7, 8, 9]] * 2, [[0, 1, 2]] * 2, scores / 2)
    assert found[0].tolist() == [[-1.0, -2.0, -3.0], [-4.0, -5.0, -INF]]
    assert found[1].tolist() == [[8, 9, 7], [9, 7, 8]]
    assert found[2].tolist() == [[1, 2, 0], [2, 0, 1]]
    assert found[3].tolist() == [[-0.5, -1.0, -1.5], [-2.0, -2.5, -INF]]


# -- and in whole files, whatever is installed


@pytest.mark.parametrize("release", RELEASES)
def test_a_bad_word_that_begins_with_a_prompt_of_one_id(
    release: str, ruled_generators: Callable[[str], Generator]
) -> None:
    generator = ruled_generators(release)
    prompt, greedy = [5], {"num_beams": 1, "max_new_tokens": 1, "eos_token_id": 2}
    ((free,),) = generator.generate([prompt], **greedy)
    ((found,),) = generator.generate(
        [prompt], bad_words_ids=[[*prompt, free.token_ids[0]]], **greedy
    )
    assert (found.token_ids != free.token_ids) == RULES[release].bias_reaches_back


@pytest.mark.parametrize("release", RELEASES)
def test_whether_the_pad_id_counts_as_repeated(
    release: str, ruled_generators: Callable[[str], Generator]
) -> None:
    """A row's answer beside a longer prompt is its answer alone, or hangs on the pad id."""
    generator = ruled_generators(release)
    short, long = [5, 9], [6, 7, 8, 11, 12]
    settings = {"num_beams": 1, "max_new_tokens": 4, "eos_token_id": 2, "repetition_penalty": 9.0}
    ((alone,),) = generator.generate([short], **settings)
    pad = alone.token_ids[0]
    (padded,), _ = generator.generate([short, long], pad_token_id=pad, **settings)
    assert (padded.token_ids == alone.token_ids) == RULES[release].penalty_spares_padding


@pytest.mark.parametrize("release", RELEASES)
def test_an_entry_whose_tokens_are_banned(
    release: str,
    ruled_generators: Callable[[str], Generator],
    checkpoints: Callable[[str], Path],
) -> None:
    prompt, entry = [5, 9, 7], [30, 30]
    (found,) = ruled_generators(release).generate(
        [prompt], catalogue=[entry], bad_words_ids=[[30]], eos_token_id=2, length_penalty=0.0
    )
    if not RULES[release].constraint_wins:
        assert found == []
        return
    assert found[0].token_ids == [*entry, 2]
    model = open_checkpoint(checkpoints("gpt2")).load_model()
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *entry]])).logits[0, -1]
    # what was forced costs nothing; the EOS was free to come
    assert found[0].score == pytest.approx(float(logits.log_softmax(-1)[2]), abs=1e-4)


@pytest.mark.parametrize("release", RELEASES)
def test_whether_what_was_drawn_is_sorted(
    release: str, ruled_generators: Callable[[str], Generator]
) -> None:
    package = ruled_generators(release).package
    session = session_of(with_trace_outputs(ir.load(package.model)), package.folder)
    config = package.manifest.search.with_overrides(
        {"num_beams": 4, "do_sample": True, "seed": 3, "eos_token_id": (2,), "top_k": 0}
    )
    prompt_ids, mask = left_pad([[5, 9, 7]], 0)
    parameters = parameter_feeds(package.manifest, [config.for_prompt(3)])
    feeds = {"input_ids": prompt_ids, "attention_mask": mask, **parameters}
    (scores,) = session.run(["trace/top_scores"], feeds)
    falling = np.diff(scores[:, 0]) <= 0
    assert falling.all() == RULES[release].draws_are_sorted
