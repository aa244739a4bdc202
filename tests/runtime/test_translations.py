"""The demo translator: what comes out is what transformers prints, and right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from beamgen import Generator, Package, find_adapter

pytestmark = pytest.mark.transformers_4  # see What is left in CONTRIBUTING.md

#: Written by hand: what a reader can judge.
TRANSLATIONS = {
    "The old woman gives the child an apple.": "Die alte Frau gibt dem Kind einen Apfel.",
    "Does your brother live in Vienna?": "Wohnt dein Bruder in Wien?",
    "Yesterday the children slept in the garden.": "Gestern haben die Kinder im Garten geschlafen.",
    "I know that the doctor is helping my father.": "Ich weiß, dass der Arzt meinem Vater hilft.",
    "She will call us tomorrow.": "Sie wird uns morgen anrufen.",
    "He doesn't have a car.": "Er hat kein Auto.",
}


def test_a_reader_finds_it_right_and_transformers_prints_the_same(
    demos: Callable[[str], Package],
) -> None:
    sources, expected = list(TRANSLATIONS), list(TRANSLATIONS.values())
    demo = find_adapter("marian").demo
    tokenizer = AutoTokenizer.from_pretrained(demo)
    model = AutoModelForSeq2SeqLM.from_pretrained(demo).eval()
    with torch.no_grad():
        ids = model.generate(**tokenizer(sources, return_tensors="pt", padding=True), num_beams=4)
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == expected
    found = Generator(demos("marian")).generate(sources, num_beams=4)
    assert [best.text for (best, *_) in found] == expected


def test_it_is_small() -> None:
    demo = find_adapter("marian").demo
    assert demo is not None
    assert sum(path.stat().st_size for path in demo.iterdir()) <= 4_500_000
