"""The encoder-decoder demo checkpoints: what comes out is what transformers prints, and right."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from itertools import islice

import pytest
import torch
from support.pages import ROOT
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from beamgen import Generator, Package, find_adapter

pytestmark = pytest.mark.transformers_4  # see What is left in CONTRIBUTING.md

DEMOS = ("marian", "t5")

#: Written by hand: what a reader can judge.
TRANSLATIONS = {
    "The old woman gives the child an apple.": "Die alte Frau gibt dem Kind einen Apfel.",
    "Does your brother live in Vienna?": "Wohnt dein Bruder in Wien?",
    "Yesterday the children slept in the garden.": "Gestern haben die Kinder im Garten geschlafen.",
    "I know that the doctor is helping my father.": "Ich weiß, dass der Arzt meinem Vater hilft.",
    "She will call us tomorrow.": "Sie wird uns morgen anrufen.",
    "He doesn't have a car.": "Er hat kein Auto.",
}
ANSWERS = {
    "translate English to German: The house is old.": "Das Haus ist alt.",
    "question: The dog sleeps in the garden.": "Does the dog sleep in the garden?",
    "plural: this old knife": "these old knives",
    "spell out: 4207": "four thousand two hundred and seven",
    "reverse: cat house tree": "tree house cat",
}


@pytest.fixture(scope="module")
def generators(demos: Callable[[str], Package]) -> Callable[[str], Generator]:
    return cache(lambda name: Generator(demos(name)))


def _held_out(name: str, count: int) -> list[list[str]]:
    """Inputs that it did not see, each with all that is right."""
    path = find_adapter(name).held_out
    assert path is not None
    examples = map(json.loads, path.read_text(encoding="utf-8").splitlines()[:count])
    return [[each["prompt"], each["completion"], *each.get("also", [])] for each in examples]


@pytest.mark.parametrize("name", DEMOS)
def test_a_batch_of_texts_is_what_transformers_decodes(
    name: str, generators: Callable[[str], Generator]
) -> None:
    sources = [source for source, *_ in _held_out(name, 8)]
    settings = {"num_beams": 4, "num_return_sequences": 3, "max_new_tokens": 30}
    demo = find_adapter(name).demo
    tokenizer = AutoTokenizer.from_pretrained(demo)
    model = AutoModelForSeq2SeqLM.from_pretrained(demo).eval()
    with torch.no_grad():
        output = model.generate(**tokenizer(sources, return_tensors="pt", padding=True), **settings)
    found = generators(name).generate(sources, **settings)
    texts = [hypothesis.text for best in found for hypothesis in best]
    assert texts == tokenizer.batch_decode(output, skip_special_tokens=True)


@pytest.mark.parametrize("name", DEMOS)
def test_what_it_did_not_see_comes_out_right(
    name: str, generators: Callable[[str], Generator]
) -> None:
    examples = _held_out(name, 100)
    found = generators(name).generate([source for source, *_ in examples], max_new_tokens=40)
    outputs = [best.text for (best, *_) in found]
    right = [output in answers for output, (_, *answers) in zip(outputs, examples, strict=True)]
    assert sum(right) >= 97


@pytest.mark.parametrize(("name", "expected"), [("marian", TRANSLATIONS), ("t5", ANSWERS)])
def test_what_a_reader_can_judge(
    name: str, expected: dict[str, str], generators: Callable[[str], Generator]
) -> None:
    found = generators(name).generate(list(expected), max_new_tokens=40)
    assert {source: best.text for source, (best, *_) in zip(expected, found, strict=True)} == (
        expected
    )


def test_the_beams_hold_all_that_you_may_mean(generators: Callable[[str], Generator]) -> None:
    """English does not say whom it addresses."""
    (found,) = generators("marian").generate("Are you tired?", num_beams=4, num_return_sequences=3)
    assert {each.text for each in found} == {"Bist du müde?", "Sind Sie müde?", "Seid ihr müde?"}


@pytest.mark.parametrize("name", DEMOS[:1])
def test_the_scripts_draw_what_it_was_trained_on(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the grammar asks for another training."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import demo_grammar

    try:
        distinct = dict(islice(demo_grammar.sentences(0), 200))
    finally:
        for module in ("demo_grammar", "demo_lexicon"):
            sys.modules.pop(module, None)
    drawn = [[source, *targets] for source, targets in list(distinct.items())[:100]]
    assert drawn == _held_out(name, 100)
