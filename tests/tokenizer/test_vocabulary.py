"""What tokens write is what they are said to write: random texts and random walks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from beamgen import BeamgenError, Constraint, find_adapter
from beamgen.settings.vocabulary import Vocabulary
from beamgen.tokenizer.load import load_tokenizer
from beamgen.tokenizer.tokenizer import Tokenizer
from beamgen.tokenizer.vocabulary import vocabulary_of

SIZES = {"gpt2": 1200, "phi3": 1280, "biogpt": 1151}


def read(model: str) -> tuple[Tokenizer, Vocabulary]:
    tokenizer = load_tokenizer(Path(str(find_adapter(model).demo)))
    assert tokenizer is not None
    return tokenizer, vocabulary_of(tokenizer, SIZES[model])


def written(vocabulary: Vocabulary, ids: list[int]) -> bytes:
    return b"".join(vocabulary.texts[token] or b"" for token in ids)


@pytest.mark.parametrize("model", ["gpt2", "phi3"])
def test_random_texts_are_what_their_tokens_write(model: str) -> None:
    """Characters of one to four bytes, most of them in no token as a whole."""
    tokenizer, vocabulary = read(model)
    rng = np.random.default_rng(0)
    for _ in range(100):
        points = rng.choice([*range(32, 127), 9, 10, 233, 0x3B1, 0x4E00, 0x1F642, 0x301], 20)
        text = "x" + "".join(map(chr, points))
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert written(vocabulary, ids).decode().lstrip(" ") == text
        assert tokenizer.decode(ids) == text


def test_words_of_moses_are_what_their_pieces_write() -> None:
    tokenizer, vocabulary = read("biogpt")
    rng = np.random.default_rng(0)
    for _ in range(50):
        words = ["".join(rng.choice(list("abcXYZ019"), rng.integers(1, 8))) for _ in range(5)]
        text = " ".join(words)
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert written(vocabulary, ids).decode() == text + " "
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    ("model", "pattern"),
    [
        ("gpt2", r"[^x]{1,6}[à-ÿ一-龥🙂]{2}"),
        ("phi3", r"[^x]{1,6}[à-ÿ一-龥🙂]{2}"),
        ("biogpt", r"[a-z]{1,6} [A-Z0-9 ]+[a-z]"),
    ],
)
def test_random_walks_write_what_matches(model: str, pattern: str) -> None:
    """Tokens that are no valid UTF-8 alone among them."""
    tokenizer, vocabulary = read(model)
    constraint = Constraint.regex(pattern, vocabulary)
    rng = np.random.default_rng(0)
    partial = 0
    for _ in range(60):
        state, ids = 0, []
        while not constraint.automaton.is_marked(state) or rng.random() < 0.5:
            may_come = constraint.tokens_from(state)
            if not len(may_come):
                break
            ids.append(int(rng.choice(may_come)))
            state = constraint.automaton.step(state, ids[-1])
        text = written(vocabulary, ids).decode().removesuffix(vocabulary.behind.decode())
        assert re.fullmatch(pattern, text)
        before = tokenizer.encode("x", add_special_tokens=False)
        shown = tokenizer.decode([*before, *ids], skip_special_tokens=True)
        assert shown == "x" + vocabulary.behind.decode() + text
        partial += any(max(vocabulary.texts[token] or b"") > 127 for token in ids)
    assert partial or model == "biogpt"


@pytest.mark.parametrize("model", ["gpt2", "phi3"])
def test_every_way_to_write_a_text_is_taken_and_special_tokens_are_none(model: str) -> None:
    tokenizer, vocabulary = read(model)
    text = " an é and <|endoftext|></s>"
    constraint = Constraint.regex(
        re.escape(text).replace("\\ ", " ").replace("/", "\\/"), vocabulary
    )
    single = [
        next(token for token, piece in enumerate(vocabulary.texts) if piece == bytes([byte]))
        for byte in text.encode()
    ]
    assert constraint.automaton.is_marked(constraint.state(single))
    special = {*tokenizer.special_tokens}
    taken = {t for state in range(constraint.states) for t in constraint.tokens_from(state)}
    assert special
    assert not special & taken


def test_a_tokenizer_of_another_kind_is_refused_by_name() -> None:
    tokenizer = load_tokenizer(Path(str(find_adapter("marian").demo)))
    assert tokenizer is not None
    with pytest.raises(BeamgenError, match="MarianTokenizer writes: it makes text") as error:
        vocabulary_of(tokenizer, len(tokenizer))
    assert "--catalogue" in error.value.cure


@pytest.mark.parametrize(
    ("pattern", "cause"),
    [
        ("(a", "cannot be read"),
        ("^a$", "cannot be read"),
        (r"[^\s\S]", "matches no text"),
        ("a{3000}", "has 3001 states, of at most 2000"),
        (7, "is a string, not 7"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused(
    pattern: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beamgen.settings.patterns.MOST_STATES", 2_000)
    _, vocabulary = read("gpt2")
    with pytest.raises(BeamgenError, match=cause) as error:
        Constraint.regex(pattern, vocabulary)
    assert "\n" not in error.value.cause + error.value.cure


def test_a_pattern_that_outgrows_memory_or_time_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, vocabulary = read("gpt2")
    monkeypatch.setattr("beamgen.settings.patterns.MOST_SECONDS", 1.5)
    with pytest.raises(BeamgenError, match="took more than") as error:
        Constraint.regex("(a|b)*a(a|b){24}", vocabulary)
    assert "bound its repeats" in error.value.cure


@pytest.mark.parametrize(
    ("schema", "cause"),
    [
        ({"type": "integer", "minimum": 3}, "at # says 'minimum'"),
        ({"type": "object", "properties": {"a": {"not": {}}}, "required": ["a"]}, "a says 'not'"),
        ({"type": "string", "pattern": ".*"}, "may take a quote"),
        ({"type": "string", "pattern": "[^a]"}, "may take a quote"),
        ({"type": "string", "pattern": "[a-z]+", "maxLength": 3}, "beside 'pattern'"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "'oneOf' of what"),
        ({"type": "object", "properties": {}, "required": ["a"]}, "requires 'a'"),
        ({"type": "integer", "enum": [1, "a"]}, "lists 'a'"),
        ({"type": "string", "format": "ipv4"}, "cannot be read: .*ipv4"),
        ({"propertys": {}}, "says 'propertys'"),
        (True, "is true"),
        ("{", "is no JSON"),
        ({1, 2}, "is no JSON"),
    ],
)
def test_what_a_schema_asks_for_in_vain_is_refused(schema: object, cause: str) -> None:
    _, vocabulary = read("gpt2")
    with pytest.raises(BeamgenError, match=cause):
        Constraint.json_schema(schema, vocabulary)
