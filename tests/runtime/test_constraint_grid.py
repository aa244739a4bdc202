"""Constraints and stop strings against HF's own generate, case by case."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from support.constraint_cases import PATTERNS, SCHEMAS, WORDS
from transformers import GenerationConfig

from beamgen import Constraint, Generation, Generator, Package, find_adapter, open_checkpoint
from beamgen.settings.prompts import left_pad

Matches = Callable[[str], bool]
Case = tuple[Constraint, Matches]

PROMPTS = ["aspirin is", "a bird is a kind of", "water"]
_LONGEST = {"gpt2": 40, "phi3": 44, "biogpt": 24}


def _demo(model: str) -> Path:
    return Path(str(find_adapter(model).demo))


def _matched_by(pattern: str) -> Matches:
    return lambda text: re.fullmatch(pattern, text) is not None


def _valid_under(schema: dict[str, Any]) -> Matches:
    def valid(text: str) -> bool:
        jsonschema.validate(json.loads(text), schema)
        return True

    return valid


def cases_of(generator: Generator, model: str) -> list[Case]:
    """Every constraint that the tokenizer can hold, with an independent judge of texts."""
    if model == "biogpt":
        return [(generator.constraint(regex=each), _matched_by(each)) for each in WORDS]
    patterns = [
        (generator.constraint(regex=pattern), _matched_by(python or pattern))
        for pattern, python in PATTERNS
    ]
    schemas = [
        (generator.constraint(json_schema=schema), _valid_under(schema)) for schema in SCHEMAS
    ]
    return [*patterns, *schemas]


def _walker(constraint: Constraint) -> Callable[[tuple[int, ...]], int]:
    known = {(): 0}

    def state(prefix: tuple[int, ...]) -> int:
        if prefix not in known:
            known[prefix] = constraint.automaton.step(state(prefix[:-1]), prefix[-1])
        return known[prefix]

    return state


def searched_by_hf(
    model: Any,
    rows: list[list[int]],
    constraints: list[Constraint],
    generator: Generator,
    beams: int,
    longest: int,
) -> tuple[list[list[list[int]]], list[list[float]]]:
    """What HF's generate finds of each row: generated ids, and scores (with several beams)."""
    eos, vocab = generator.search.eos_token_id[0], generator.package.manifest.vocab_size
    input_ids, mask = left_pad(rows, eos)
    walkers = [_walker(constraint) for constraint in constraints]
    of_states: dict[tuple[int, int], torch.Tensor] = {}

    def allowed(row: int, sequence: torch.Tensor) -> torch.Tensor:
        constraint = constraints[row]
        state = walkers[row](tuple(sequence[input_ids.shape[1] :].tolist()))
        if (row, state) not in of_states:
            found = [token for token in constraint.tokens_from(state).tolist() if token != eos]
            found += [eos] if constraint.automaton.is_marked(state) else []
            found = found or [token for token in range(vocab) if token != eos]
            of_states[row, state] = torch.tensor(found)
        return of_states[row, state]

    config = GenerationConfig(
        num_beams=beams, num_return_sequences=beams, max_new_tokens=longest, eos_token_id=eos,
        pad_token_id=eos, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    with torch.no_grad():
        found = model.generate(
            torch.from_numpy(input_ids),
            attention_mask=torch.from_numpy(mask),
            generation_config=config,
            prefix_allowed_tokens_fn=allowed,
        )
    ids = found.sequences[:, input_ids.shape[1] :].reshape(len(rows), beams, -1).tolist()
    scores = [] if beams == 1 else found.sequences_scores.reshape(len(rows), beams).tolist()
    return ids, scores


def _until_eos(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos) + 1] if eos in ids else ids


def compare(
    found: list[list[Generation]],
    ids: list[list[list[int]]],
    scores: list[list[float]],
    eos: int,
) -> None:
    """Tokens and scores of everything that either found."""
    for row, hypotheses in enumerate(found):
        alive = [i for i in range(len(ids[row])) if not scores or scores[row][i] > -1e6]
        expected = [_until_eos(ids[row][i], eos) for i in alive]
        assert [hypothesis.token_ids for hypothesis in hypotheses] == expected
        if scores:
            theirs = [scores[row][i] for i in alive]
            np.testing.assert_allclose([h.score for h in hypotheses], theirs, rtol=2e-4, atol=2e-4)


def batches(cases: list[Case], size: int) -> Iterator[list[Case]]:
    """Every constraint with those that follow it."""
    for first in range(len(cases)):
        yield [cases[(first + i * 7) % len(cases)] for i in range(size)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("beams", [1, 5, 16])
@pytest.mark.parametrize("model", ["gpt2", "phi3", "biogpt"])
@pytest.mark.filterwarnings("ignore:the shortest text")
def test_each_constraint_equals_hf(
    model: str, beams: int, size: int, demos: Callable[[str], Package]
) -> None:
    generator = Generator(demos(model))
    reference = open_checkpoint(_demo(model)).load_model()
    reference.generation_config = GenerationConfig()
    eos, longest = generator.search.eos_token_id[0], _LONGEST[model]
    compared = whole = 0
    for batch in batches(cases_of(generator, model), size):
        constraints = [constraint for constraint, _ in batch]
        prompts = [generator.encode(prompt) for prompt in PROMPTS[:size]]
        found = generator.generate(
            prompts, constraint=constraints, num_beams=beams, num_return_sequences=beams,
            max_new_tokens=longest, eos_token_id=eos, pad_token_id=eos,
        )  # fmt: skip
        ids, scores = searched_by_hf(reference, prompts, constraints, generator, beams, longest)
        compare(found, ids, scores, eos)
        for hypotheses, (_, matches) in zip(found, batch, strict=True):
            for hypothesis in hypotheses:
                if hypothesis.finish_reason == "eos":
                    whole += 1
                    # the judge reads what the whole text has more than the prompt
                    assert matches(_text(generator, hypothesis)), hypothesis
        compared += 1
    print(f"\n{model} {beams} beams, batch {size}: {compared} cases exact, {whole} texts match")
    assert whole > compared / 3


def _text(generator: Generator, hypothesis: Generation) -> str:
    """What was written, without what the tokenizer puts between two words."""
    assert hypothesis.new_text is not None
    behind = generator.vocabulary.behind.decode()
    return hypothesis.new_text.removeprefix(behind) if behind else hypothesis.new_text
