"""The tasks of the T5 demo checkpoint, each a prefix and what a reader can judge."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import NamedTuple

import demo_lexicon as lexicon
from demo_clauses import plain
from demo_grammar import Pair, Writer
from demo_text import Entry
from demo_words import nouns, with_s

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# Files of WordNet's lexicographers (see lexnames(5WN)) of what is counted: animals, artifacts,
# events, food, objects, plants.
_THINGS = frozenset({5, 6, 11, 13, 17, 20})
# Endings whose plurals no rule tells, and words that are plurals already.
_DOUBTFUL = re.compile(
    "(o|f|fe|is|us|um|on|ix|ex|man|foot|tooth|mouse|goose|child|ics|[^s]s|fish|sheep)$"
)
IRREGULAR_PLURALS = """
man men
woman women
child children
person people
foot feet
tooth teeth
goose geese
mouse mice
ox oxen
knife knives
wife wives
life lives
leaf leaves
half halves
loaf loaves
shelf shelves
wolf wolves
thief thieves
hero heroes
potato potatoes
tomato tomatoes
photo photos
piano pianos
roof roofs
crisis crises
analysis analyses
cactus cacti
sheep sheep
deer deer
fish fish
"""


class Task(NamedTuple):
    """An input with its prefix, and what is right, the likeliest first."""

    source: str
    targets: tuple[str, ...]


def spelled(number: int) -> str:
    """A number below ten thousand in words.

    >>> spelled(4042)
    'four thousand and forty-two'
    """
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = _TENS[number // 10 - 2], number % 10
        return f"{tens}-{_ONES[ones]}" if ones else tens
    size, word = (100, "hundred") if number < 1000 else (1000, "thousand")
    head, rest = f"{spelled(number // size)} {word}", number % size
    if not rest:
        return head
    return f"{head} and {spelled(rest)}" if rest < 100 else f"{head} {spelled(rest)}"


class TaskWriter:
    """Draws tasks.

    Args:
        rng: what decides.
        plurals: nouns with their plurals, besides the lexicon's.
    """

    def __init__(self, rng: random.Random, plurals: dict[str, str]) -> None:
        """Take what decides, and the nouns."""
        self.rng, self.plurals, self.grammar = rng, plurals, Writer(rng)
        self.words = tuple(
            dict.fromkeys(
                word
                for kind in lexicon.NOUNS
                for noun in nouns(kind)
                for word in (noun.english, noun.english_plural)
            )
        )

    def task(self) -> Task:
        """Any of the tasks."""
        makers = [self.translate] * 6 + [self.question] * 2
        makers += [self.spell_out] * 2 + [self.reverse] * 2 + [self.plural] * 3
        return self.rng.choice(makers)()

    def translate(self) -> Task:
        """A short sentence in German."""
        while True:
            maker = self.rng.choice([self.grammar.statement] * 4 + [self.grammar.this_is])
            pair: Pair = maker()
            if len(pair.source.split()) <= 7:
                return Task(f"translate English to German: {pair.source}", pair.targets)

    def question(self) -> Task:
        """A statement as a question."""
        while True:
            clause = plain(self.grammar.clause())
            source = clause.english()
            if len(source.split()) <= 8:
                asked = clause.english(question=True)
                return Task(
                    f"question: {source[0].upper()}{source[1:]}.",
                    (f"{asked[0].upper()}{asked[1:]}?",),
                )

    def spell_out(self) -> Task:
        """A number in words."""
        number = self.rng.randrange(10 ** self.rng.choice((1, 2, 3, 4, 4, 4)))
        return Task(f"spell out: {number}", (spelled(number),))

    def reverse(self) -> Task:
        """Words in the other order."""
        words = self.rng.sample(self.words, self.rng.randrange(2, 5))
        return Task(f"reverse: {' '.join(words)}", (" ".join(reversed(words)),))

    def plural(self) -> Task:
        """A noun or a phrase of one in the plural."""
        if self.rng.random() < 0.6:
            word = self.rng.choice(list(self.plurals))
            return Task(f"plural: {word}", (self.plurals[word],))
        while True:
            kind = self.rng.choice(list(lexicon.NOUNS))
            noun = self.rng.choice(nouns(kind))
            if noun.german_plural is not None:
                break
        phrase = self.grammar.noun_phrase(kind, owned=False, counted=False)
        adjective = f"{phrase.adjective.english} " if phrase.adjective else ""
        one = self.rng.choice(
            ("", "the", "this", "that", "my", "your", "his", "her", "our", "their")
        )
        many = {"this": "these", "that": "those"}.get(one, one)
        return Task(
            f"plural: {one} {adjective}{noun.english}".replace(":  ", ": "),
            (f"{many} {adjective}{noun.english_plural}".strip(),),
        )


def regular_plurals(entries: Iterable[Entry]) -> dict[str, str]:
    """Plurals of WordNet's common nouns, by the rule, without those that may not follow it."""
    words = {
        entry.term
        for entry in entries
        if entry.part_of_speech == "noun"
        and entry.common
        and entry.lexicographer_file in _THINGS
        and re.fullmatch("[a-z]{3,10}", entry.term)
        and not _DOUBTFUL.search(entry.term)
    }
    return {word: with_s(word) for word in sorted(words)} | dict(_lines(IRREGULAR_PLURALS))


def _lines(text: str) -> Iterable[list[str]]:
    return (line.split() for line in text.strip().splitlines())
