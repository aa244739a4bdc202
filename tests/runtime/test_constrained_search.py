"""Generation within a catalogue, from text and ids, against HF's own constraint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import GenerationConfig

from beamgen import (
    BeamgenError,
    BeamgenWarning,
    Constraint,
    Generator,
    Package,
    export,
    open_checkpoint,
)
from beamgen.cli import main
from beamgen.settings.automaton import Table

ENTRIES = ["a small animal", "a large plant", "a person", "a drug used to treat pain", "a drug"]


@pytest.fixture(scope="module")
def biogpt(demos: Callable[[str], Package]) -> Generator:
    return Generator(demos("biogpt"))


def test_every_hypothesis_is_an_entry(biogpt: Generator) -> None:
    (found,) = biogpt.generate("aspirin is", catalogue=ENTRIES, num_return_sequences=5)
    assert {h.new_text.strip() for h in found} == set(ENTRIES)
    assert {h.finish_reason for h in found} == {"eos"}
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    known = {tuple(biogpt.encode(f"aspirin is {entry}")) for entry in ENTRIES}
    assert {(*h.prompt_ids, *h.token_ids[:-1]) for h in found} == known


def test_fewer_entries_than_beams_give_fewer_hypotheses(biogpt: Generator) -> None:
    rows = biogpt.generate(
        ["aspirin is", "a dog is"], catalogue=ENTRIES[:2], num_beams=8, num_return_sequences=8
    )
    assert [len(row) for row in rows] == [2, 2]


def test_an_entry_that_the_length_cuts_says_so(biogpt: Generator) -> None:
    with pytest.warns(BeamgenWarning, match="set max_new_tokens to 3 or more"):
        (found,) = biogpt.generate(
            "aspirin is", catalogue=ENTRIES, max_new_tokens=2, num_return_sequences=5
        )
    assert {h.finish_reason for h in found} == {"length"}
    starts = {tuple(biogpt.catalogue(ENTRIES).allowed(h.token_ids[:1])[0]) for h in found}
    assert all(h.token_ids[1] in allowed for h in found for allowed in starts)


@pytest.mark.parametrize("sampling", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
def test_greedy_search_and_sampling_stay_inside(
    biogpt: Generator, beams: int, sampling: bool
) -> None:
    draws = {"do_sample": True, "seed": 4, "temperature": 3.0} if sampling else {}
    rows = biogpt.generate(
        ["aspirin is", "a bird is"] * 4, catalogue=ENTRIES, num_beams=beams, **draws
    )
    texts = {h.new_text.strip() for row in rows for h in row}
    assert texts <= set(ENTRIES)
    assert all(len(row) == 1 for row in rows)
    assert len(texts) > 1 or not sampling


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
def test_hf_with_the_same_trie_gives_the_same(
    early_stopping: bool | str,
    generators: Callable[[str], Generator],
    checkpoints: Callable[[str], Path],
) -> None:
    """HF's own call, without anything of the parity check."""
    generator = generators("gpt2")
    rng = np.random.default_rng(3)
    entries = [rng.integers(20, 40, size=n).tolist() for n in rng.integers(1, 7, size=300)]
    prompt, eos, pad = [5, 9, 7, 50], 2, 1
    tree: dict = {}
    for entry in entries:
        node = tree
        for token in [*entry, eos]:
            node = node.setdefault(token, {})

    def allowed(_: int, sequence: torch.Tensor) -> list[int]:
        node = tree
        for token in sequence.tolist()[len(prompt) :]:
            node = node.get(token, {})
        return list(node) or [pad]

    model = open_checkpoint(checkpoints("gpt2")).load_model()
    model.generation_config = GenerationConfig()
    config = GenerationConfig(
        num_beams=6, num_return_sequences=6, max_new_tokens=9, eos_token_id=eos, pad_token_id=pad,
        early_stopping=early_stopping, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    ids = torch.tensor([prompt])
    with torch.no_grad():
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            prefix_allowed_tokens_fn=allowed,
        )
    (found,) = generator.generate(
        [prompt], catalogue=entries, num_beams=6, num_return_sequences=6, max_new_tokens=9,
        eos_token_id=eos, pad_token_id=pad, early_stopping=early_stopping,
    )  # fmt: skip
    assert len(found) == 6
    for sequence, score, hypothesis in zip(
        expected.sequences.tolist(), expected.sequences_scores.tolist(), found, strict=True
    ):
        assert sequence[len(prompt) :][: len(hypothesis.token_ids)] == hypothesis.token_ids
        assert hypothesis.score == pytest.approx(score, abs=1e-4)
        assert hypothesis.token_ids[:-1] in entries


EOS = [4, 10, 16]


@pytest.mark.parametrize("length_penalty", [1.0, 0.0])
def test_with_several_eos_ids_each_entry_comes_once_with_its_likeliest_end(
    length_penalty: float,
    generators: Callable[[str], Generator],
    checkpoints: Callable[[str], Path],
) -> None:
    """All entries, ranked by the model's own log-probabilities without any search."""
    rng = np.random.default_rng(5)
    entries = [rng.integers(20, 90, size=3).tolist() for _ in range(12)]
    prompt = [5, 9, 7, 50]
    model = open_checkpoint(checkpoints("gpt2")).load_model()
    ranked = []
    for entry in entries:
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *entry]])).logits[0, len(prompt) - 1 :]
        log_probs = logits.log_softmax(-1)
        end, last = log_probs[-1][EOS].max(-1)
        total = float(log_probs[range(len(entry)), entry].sum() + end)
        score = total / (len(entry) + 1) ** length_penalty
        ranked.append((score, [*entry, EOS[int(last)]]))
    ranked.sort(reverse=True)
    assert len({tokens[-1] for _, tokens in ranked}) > 1, "one end for all shows little"
    (found,) = generators("gpt2").generate(
        [prompt], catalogue=entries, num_beams=12, num_return_sequences=12, max_new_tokens=6,
        eos_token_id=EOS, length_penalty=length_penalty,
    )  # fmt: skip
    assert [h.token_ids for h in found] == [tokens for _, tokens in ranked]
    assert [h.score for h in found] == pytest.approx([score for score, _ in ranked], abs=1e-4)


def test_an_end_that_is_suppressed_is_not_the_one_that_is_left(
    generators: Callable[[str], Generator],
) -> None:
    def ends(**settings: object) -> set[int]:
        (found,) = generators("gpt2").generate(
            [[5, 9, 7]], catalogue=[[20, 21], [22, 23]], num_beams=4, num_return_sequences=2,
            eos_token_id=EOS, max_new_tokens=6, **settings,
        )  # fmt: skip
        assert sorted(h.token_ids[:-1] for h in found) == [[20, 21], [22, 23]]
        return {h.token_ids[-1] for h in found}

    before = ends()
    assert len(before) < len(EOS)
    assert not before & ends(suppress_tokens=sorted(before))


def test_greedy_search_ends_as_it_does_without_that_rule(
    generators: Callable[[str], Generator],
) -> None:
    """The likeliest of all allowed tokens is never one that the rule takes away."""
    settings = {"catalogue": [[20, 21], [22, 23], [20]], "max_new_tokens": 6, "num_beams": 1}
    (several,) = generators("gpt2").generate([[5, 9, 7]], eos_token_id=EOS, **settings)
    ends = {
        eos: generators("gpt2").generate([[5, 9, 7]], eos_token_id=[eos], **settings)[0][0]
        for eos in EOS
    }
    assert several[0].token_ids in [found.token_ids for found in ends.values()]


def test_a_large_catalogue(generators: Callable[[str], Generator]) -> None:
    """20 000 entries, as product ids are."""
    rng = np.random.default_rng(0)
    entries = rng.integers(3, 90, size=(20_000, 6)).tolist()
    (found,) = generators("gpt2").generate(
        [[5, 9, 7]], catalogue=entries, num_return_sequences=5, eos_token_id=2, max_new_tokens=8
    )
    assert all(h.token_ids[:-1] in entries for h in found)


@pytest.mark.parametrize(
    ("catalogue", "cause"),
    [
        ([], "the catalogue is empty"),
        ([[]], "empty entry"),
        (["a drug", ""], "empty entry"),
        ([[2]], "holds the EOS id 2"),
        ([[99_999]], "outside the vocabulary"),
        ([["x"]], "list of token ids"),
        ([3], "list of token ids"),
        (3, "a catalogue is a list of entries, not 3"),
        ("labels.txt", "a catalogue is a list of entries, not 'labels.txt'"),
    ],
)
def test_a_wrong_catalogue_is_refused(biogpt: Generator, catalogue: Any, cause: str) -> None:
    with pytest.raises(BeamgenError, match=cause):
        biogpt.generate("aspirin is", catalogue=catalogue)


def test_all_others_of_fewer_tokens_than_the_models_are_refused(biogpt: Generator) -> None:
    """A state that takes all but some would take tokens that it was not made for."""
    size = biogpt.package.manifest.vocab_size
    for made_for in (size, size - 1):
        table = Table(1)
        targets = np.zeros(made_for, np.int64)
        targets[[*biogpt.search.eos_token_id]] = -1
        table.add_dense(targets, marked=True)
        constraint = Constraint(table.finished(), "nearly all", made_for)
        if made_for == size:
            biogpt.generate("aspirin is", constraint=constraint, max_new_tokens=3)
            continue
        with pytest.raises(BeamgenError, match=f"made for {made_for} tokens") as error:
            biogpt.generate("aspirin is", constraint=constraint)
        assert "beamgen constrain" in error.value.cure


def test_the_command_takes_one_entry_per_line(biogpt: Generator, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("a person\n\n a drug used to treat pain \n", encoding="utf-8")
    command = ["generate", "-m", str(biogpt.package.folder), "-p", "aspirin is", "--json"]
    done = CliRunner().invoke(
        main, [*command, "--catalogue", str(file), "--num-return-sequences", "3"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["hypotheses"]
    assert [h["new_text"].strip() for h in found] == ["a drug used to treat pain", "a person"]
    file.write_text("\n\n", encoding="utf-8")
    done = CliRunner().invoke(main, [*command, "--catalogue", str(file)])
    assert done.exit_code == 1
    assert "the catalogue is empty" in done.stderr
    done = CliRunner().invoke(main, [*command, "--catalogue", str(tmp_path / "none.txt")])
    assert done.exit_code == 1
    assert "cannot read" in done.stderr


def test_the_command_takes_ids_where_there_is_no_tokenizer(
    packages: Callable[[str], Package], tmp_path: Path
) -> None:
    file = tmp_path / "codes.txt"
    file.write_text("20 21 22\n20, 23\n", encoding="utf-8")
    command = ["generate", "-m", str(packages("gpt2").folder), "--ids", "5 9 7", "--json"]
    done = CliRunner().invoke(
        main, [*command, "--catalogue", str(file), "--num-return-sequences", "2"]
    )
    assert done.exit_code == 0, done.output
    found = {tuple(h["token_ids"][:-1]) for h in json.loads(done.stdout)["hypotheses"]}
    assert found == {(20, 21, 22), (20, 23)}


def test_a_catalogue_is_not_built_into_a_file(tmp_path: Path) -> None:
    with pytest.raises(BeamgenError, match="not built into a file"):
        export(
            model_class="gpt2",
            output=tmp_path / "p",
            settings={"constraint": Constraint.choices([[5]])},
        )
