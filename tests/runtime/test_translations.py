"""The demo encoder-decoders: what comes out is what transformers prints, and right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from beamgen import Generator, Package, find_adapter

#: Written by hand: what a reader can judge.
RIGHT: dict[str, dict[str, str]] = {}
RIGHT["marian"] = {
    "The old woman gives the child an apple.": "Die alte Frau gibt dem Kind einen Apfel.",
    "Does your brother live in Vienna?": "Wohnt dein Bruder in Wien?",
    "Yesterday the children slept in the garden.": "Gestern haben die Kinder im Garten geschlafen.",
    "I know that the doctor is helping my father.": "Ich weiß, dass der Arzt meinem Vater hilft.",
    "She will call us tomorrow.": "Sie wird uns morgen anrufen.",
    "He doesn't have a car.": "Er hat kein Auto.",
}

RIGHT["t5"] = {
    "translate English to German: The old woman sees a child.": "Die alte Frau sieht ein Kind.",
    "question: The doctor is tired.": "Is the doctor tired?",
    "spell out: 4042": "four thousand and forty-two",
    "reverse: apple house": "house apple",
    "plural: this old knife": "these old knives",
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_reader_finds_it_right_and_transformers_prints_the_same(
    name: str, demos: Callable[[str], Package]
) -> None:
    sources, expected = list(RIGHT[name]), list(RIGHT[name].values())
    demo = find_adapter(name).demo
    tokenizer = _tokenizer(demo)
    model = AutoModelForSeq2SeqLM.from_pretrained(demo).eval()
    with torch.no_grad():
        read = tokenizer(sources, return_tensors="pt", padding=True)
        ids = model.generate(**read, num_beams=4, max_new_tokens=40)
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == expected
    found = Generator(demos(name)).generate(sources, num_beams=4, max_new_tokens=40)
    assert [best.text for (best, *_) in found] == expected


def _tokenizer(demo: Path) -> PreTrainedTokenizerBase:
    """``tokenizer.json`` as it stands: T5's class of transformers 5 puts a space before texts."""
    if (stored := demo / "tokenizer.json").exists():
        return PreTrainedTokenizerFast(
            tokenizer_file=str(stored),
            pad_token="<pad>",
            eos_token="</s>",
            model_input_names=["input_ids", "attention_mask"],
        )
    return AutoTokenizer.from_pretrained(demo)


@pytest.mark.parametrize("name", RIGHT)
def test_it_is_small(name: str) -> None:
    demo = find_adapter(name).demo
    assert demo is not None
    assert sum(path.stat().st_size for path in demo.iterdir()) <= 5_000_000
