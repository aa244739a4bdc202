"""Stop strings end a search as they end HF's generate, within tokens and across them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig, StopStringCriteria

from beamgen import BeamgenError, Generator, Package, find_adapter, open_checkpoint
from beamgen.settings.prompts import left_pad
from beamgen.settings.stop_strings import StopStrings
from beamgen.tokenizer.load import load_tokenizer
from beamgen.tokenizer.vocabulary import token_texts

DEMOS = ["gpt2", "phi3", "biogpt"]
PROMPTS = ["aspirin is", "a bird is a kind of", "water"]

#: Across tokens, within one, in the prompt's end, several at once, of one character.
STRINGS: tuple[tuple[str, ...], ...] = (
    (".",), (" a",), ("ing", "er"), ("the same",), ("quality of", "act of making"), ("s a",),
    ("e of", "zz"), (":",), ("t",), (" used to", "member"), ("is th", "is a", "f the"), ("ee",),
)  # fmt: skip


def _demo(model: str) -> Path:
    return Path(str(find_adapter(model).demo))


class Hf:
    """HF's generate on a demo, with its tokenizer."""

    def __init__(self, model: str) -> None:
        self.model = open_checkpoint(_demo(model)).load_model()
        self.model.generation_config = GenerationConfig()
        self.tokenizer = AutoTokenizer.from_pretrained(_demo(model))

    def __call__(
        self, rows: list[list[int]], fill: int, **settings: Any
    ) -> tuple[np.ndarray, np.ndarray | None]:
        ids, mask = left_pad(rows, fill)
        config = GenerationConfig(
            pad_token_id=fill, return_dict_in_generate=True, output_scores=True, **settings
        )
        with torch.no_grad():
            found = self.model.generate(
                torch.from_numpy(ids), attention_mask=torch.from_numpy(mask),
                generation_config=config, tokenizer=self.tokenizer,
            )  # fmt: skip
        scores = found.get("sequences_scores")
        return found.sequences[
            :, ids.shape[1] :
        ].numpy(), None if scores is None else scores.numpy()


def _equal(
    generator: Generator, hf: Hf, strings: tuple[str, ...], size: int, beams: int
) -> set[str]:
    """Compare all hypotheses of a batch; gives what ended them."""
    eos, *_ = generator.search.eos_token_id
    rows = [generator.encode(prompt) for prompt in PROMPTS[:size]]
    settings = {
        "num_beams": beams, "num_return_sequences": beams, "max_new_tokens": 20,
        "eos_token_id": eos,
    }  # fmt: skip
    found = generator.generate(rows, stop_strings=list(strings), pad_token_id=eos, **settings)
    ids, scores = hf(rows, eos, stop_strings=list(strings), **settings)
    for place, hypothesis in enumerate(h for row in found for h in row):
        mine = hypothesis.token_ids
        assert ids[place, : len(mine)].tolist() == mine
        assert set(ids[place, len(mine) :].tolist()) <= {eos}
        assert scores is None or hypothesis.score == pytest.approx(scores[place], abs=2e-4)
    return {h.finish_reason for row in found for h in row}


def _may_come(generator: Generator, strings: tuple[str, ...]) -> bool:
    """Whether some token ends one; HF reads each of Moses' pieces as a word of its own."""
    try:
        generator.stop_strings(strings)
    except BeamgenError:
        assert generator.vocabulary.behind  # as Moses' words have
        return False
    return True


@pytest.mark.parametrize("beams", [1, 4])
def test_a_search_ends_where_hf_ends_it(beams: int, demos: Callable[[str], Package]) -> None:
    generator, hf = Generator(demos("gpt2")), Hf("gpt2")
    reasons = [_equal(generator, hf, strings, 2, beams) for strings in STRINGS[1:4]]
    assert {"stop"} < set.union(*reasons)


@pytest.mark.slow
@pytest.mark.parametrize("model", DEMOS)
def test_every_mode_ends_where_hf_ends_it(model: str, demos: Callable[[str], Package]) -> None:
    generator, hf = Generator(demos(model)), Hf(model)
    written = [strings for strings in STRINGS if _may_come(generator, strings)]
    reasons = [
        _equal(generator, hf, strings, size, beams)
        for strings in written
        for size in (1, 3)
        for beams in (1, 3, 8)
    ]
    print(
        f"\n{model}: {len(reasons)} cases exact, {sum('stop' in each for each in reasons)} stopped"
    )
    assert sum("stop" in each for each in reasons) > len(reasons) / 5


@pytest.mark.parametrize("model", DEMOS)
def test_tokens_read_as_hf_reads_them(model: str) -> None:
    tokenizer = load_tokenizer(_demo(model))
    assert tokenizer is not None
    texts, places = StopStringCriteria.clean_tokenizer_vocab(
        AutoTokenizer.from_pretrained(_demo(model))
    )
    mine = token_texts(tokenizer)
    assert [mine[place] for place in places] == list(texts)


@pytest.mark.parametrize("seed", range(3))
def test_the_automaton_stops_where_hfs_criterion_does(seed: int) -> None:
    """Random tokens of two letters, overhangs on both sides and stop strings in stop strings."""
    rng = np.random.default_rng(seed)
    texts = ["a", "b", "ab", "ba", "aab", "bba", "c", "abcab", "�"]
    strings = ["".join(rng.choice(list("abc"), int(n))) for n in rng.integers(1, 7, 3)]

    class Tokens:
        def get_vocab(self) -> dict[str, int]:
            return {str(i): i for i in range(len(texts))}

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": []}

        def convert_tokens_to_string(self, names: list[str]) -> str:
            return "abcdef" + texts[int(names[0])]

    criterion = StopStringCriteria(Tokens(), strings)
    automaton = StopStrings.of(strings, texts, len(texts)).automaton
    for _ in range(300):
        ids = rng.integers(0, len(texts), rng.integers(1, 12)).tolist()
        ended = bool(criterion(torch.tensor([ids]), None)[0])
        assert automaton.is_marked(automaton.walk(ids)) == ended, (strings, ids)


def test_what_can_be_no_stop_string_is_refused(demos: Callable[[str], Package]) -> None:
    generator = Generator(demos("gpt2"), load=False)
    for strings, cause in (
        ([""], "strings of some characters"),
        ([3], "strings of some characters"),
        (["\u4e00\u4e8c"], "no token can end"),
    ):
        with pytest.raises(BeamgenError, match=cause):
            generator.stop_strings(strings)
