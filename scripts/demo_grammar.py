"""Sentences in English and German, from a grammar of both.

A sentence is drawn as a tree and then written in each language: German declines articles,
adjectives and nouns by case, puts the finite verb second, in subordinate clauses last, and
splits separable prefixes off. Where English leaves something open (whom "you" addresses), all
translations are given, the likeliest first. The words are in ``demo_lexicon.py``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import demo_lexicon as lexicon
from demo_clauses import MODALS, Adverbial, Clause, contracted, plain
from demo_phrases import ADDRESSES, NUMBERS, Both, Name, NounPhrase, Phrase, Pronoun
from demo_words import Noun, Verb, adjectives, conjugate, lines, nouns, verbs, with_s

# How often each of the three that "you" may be is drawn.
_WEIGHTS = (6, 3, 1)
# Words of the longest sentence.
LONGEST = 14
_SHORT = {
    "do not": "don't", "does not": "doesn't", "did not": "didn't", "is not": "isn't",
    "are not": "aren't", "was not": "wasn't", "were not": "weren't", "cannot": "can't",
    "will not": "won't", "should not": "shouldn't", "has not": "hasn't", "have not": "haven't",
}  # fmt: skip
_SHORT_SUBJECTS = re.compile(
    r"\b(I am|(?:he|she) is|(?:you|we|they) are|(?:I|you|he|she|we|they) will)\b(?! not)"
)
_HAS_MANNER = ("work", "sing", "dance", "swim", "cook", "play", "read")
_WHO = Name("who", "he", german_word="wer")


class Pair(NamedTuple):
    """An English sentence and its translations, the likeliest first."""

    source: str
    targets: tuple[str, ...]


@cache
def places() -> tuple[tuple[str, Noun, str, str], ...]:
    """English preposition, noun, and the German prepositions of where and whither."""
    by_name = {noun.english: noun for noun in nouns("place")}
    return tuple(
        (english, by_name[word], where, whither)
        for prepositions, words in lexicon.PLACE_PREPOSITIONS.items()
        for english, where, whither in [prepositions.split()]
        for word in words.split()
    )


@cache
def times(tense: str) -> tuple[Adverbial, ...]:
    """When something of a tense may be."""
    key = "modal" if tense in MODALS else tense
    found = [
        Adverbial(*line)
        for kinds, text in lexicon.TIMES.items()
        for line in (lines(text) if key in kinds.split() else ())
    ]
    if key in ("past", "future"):
        found += [Adverbial(f"on {day}", f"am {tag}") for day, tag in lexicon.WEEKDAYS]
    return tuple(found)


class Writer:
    """Draws sentences.

    Args:
        rng: what decides.
    """

    def __init__(self, rng: random.Random) -> None:
        """Take what decides."""
        self.rng = rng

    def maybe(self, chance: float) -> bool:
        """True as often as that."""
        return self.rng.random() < chance

    def noun_phrase(self, kind: str, *, owned: bool = True, counted: bool = True) -> NounPhrase:
        """A noun of a kind with a determiner."""
        noun = self.rng.choice(nouns(kind))
        if noun.german_plural is None:
            determiner, plural = (
                self.rng.choice(("", "", "the", "the", "my", "your", "this")),
                False,
            )
        elif self.maybe(0.25 if counted else 0.15):
            many = ("the", "the", "the", "these", "my", "your", "his", "her", "our", "their", "")
            numbers = [english for english, _ in lexicon.NUMBERS] if counted else []
            determiner = self.rng.choice([*many, *self.rng.sample(numbers, min(2, len(numbers)))])
            plural = True
        else:
            theirs = ("my", "my", "your", "his", "her", "our", "their")
            own = [*["the"] * 5, *["a"] * 3, "this", *theirs]
            own += ["every"] if counted else []
            determiner, plural = self.rng.choice(own), False
        adjective = self.rng.choice(adjectives(kind)) if self.maybe(0.3) else None
        if adjective and adjective.english == "old" and kind == "food":
            adjective = None
        owner: Name | NounPhrase | None = None
        if owned and determiner == "the" and self.maybe(0.15):
            if self.maybe(0.5):
                owner = self.name()
                owner = None if owner.word[-1] in "sxz" else owner
            else:
                who = self.rng.choice(nouns("person"))
                owner = NounPhrase(who, self.rng.choice(("the", "my", "my", "our", "his")))
        return NounPhrase(noun, determiner, plural, adjective, owner)

    def name(self) -> Name:
        """A name, now and then one that nobody has."""
        if self.maybe(0.25):
            return Name(invented_name(self.rng), self.rng.choice(("he", "she")))
        if self.maybe(0.5):
            return Name(self.rng.choice(lexicon.WOMEN.split()), "she")
        return Name(self.rng.choice(lexicon.MEN.split()), "he")

    def pronoun(self, *words: str) -> Pronoun:
        """One of these, or any."""
        return Pronoun(self.rng.choice(words or ("I", "you", "he", "she", "we", "they")))

    def somebody(self, *, animals: bool = True) -> Phrase:
        """A subject."""
        draw = self.rng.random()
        if draw < 0.36:
            return self.pronoun()
        if draw < 0.5:
            return self.name()
        if draw < 0.57:
            names = sorted({self.name() for _ in range(4)}, key=lambda name: name.word)
            if self.maybe(0.5) and len(names) > 1:
                first, second = self.rng.sample(names, 2)
                return Both(first, second)
            pair = self.rng.sample(nouns("person"), 2)
            determiner = self.rng.choice(("the", "my"))
            return Both(NounPhrase(pair[0], determiner), NounPhrase(pair[1], determiner))
        if animals and draw < 0.68:
            return self.noun_phrase("animal")
        return self.noun_phrase("person")

    def somebody_else(self, subject: Phrase, kind: str = "person") -> Phrase:
        """An object that is not the subject again."""
        if kind in ("person", "any") and self.maybe(0.35):
            taken = {subject.agreement} | (
                {"us", "we", "I"} if subject.agreement in ("I", "we") else set()
            )
            left = [w for w in ("I", "you", "he", "she", "we", "they") if w not in taken]
            return Pronoun(self.rng.choice(left))
        if kind in ("person", "any") and self.maybe(0.15):
            name = self.name()
            if name.word not in subject.english(True):
                return name
        kinds = ("person", "animal", "thing", "vehicle", "place", "text", "clothes", "nature")
        phrase = self.noun_phrase(self.rng.choice(kinds) if kind == "any" else kind)
        if isinstance(subject, NounPhrase) and phrase.noun == subject.noun:
            return self.somebody_else(subject, kind)
        return phrase

    def tense(self, verb: Verb, subject: Phrase) -> str:
        """A tense that English tells from the others."""
        past = (
            "present"
            if verb.past == verb.base and subject.agreement not in ("he", "she")
            else "past"
        )
        tenses = ["present"] * 6 + [past] * 6 + ["future"] * 3 + ["perfect"] * 2
        if verb.base.split()[0] not in lexicon.STATIVE:
            tenses += ["progressive"] * 5
            tenses += list(MODALS)
        return self.rng.choice(tenses)

    def somewhere(self) -> Adverbial:
        """Where."""
        draw = self.rng.random()
        if draw < 0.2:
            return self.town("in", "in")
        if draw < 0.3:
            return Adverbial("at home", "zu Hause")
        if draw < 0.45:
            return self.near()
        preposition, noun, where, _ = self.rng.choice(places())
        phrase = self.placed(noun)
        german = contracted(f"{where} {phrase.german('dat', 'du')}")
        return Adverbial(f"{preposition} {phrase.english(False)}", german)

    def town(self, english: str, german: str) -> Adverbial:
        """A town or a country, behind a preposition."""
        name, own = self.rng.choice(lexicon.CITIES.split()).split("=")
        return Adverbial(f"{english} {name}", f"{german} {own}")

    def near(self) -> Adverbial:
        """Where, beside a thing."""
        english, german = self.rng.choice(list(lexicon.NEAR.items()))
        everything = {noun.english: noun for kind in lexicon.NOUNS for noun in nouns(kind)}
        landmark = self.rng.choice(lexicon.LANDMARKS)
        phrase = NounPhrase(everything[landmark], "the")
        german = contracted(f"{german} {phrase.german('dat', 'du')}")
        return Adverbial(f"{english} {phrase.english(False)}", german)

    def placed(self, noun: Noun) -> NounPhrase:
        """A place with an article, rarely with more."""
        determiner = self.rng.choice(("the",) * 6 + ("a", "our", "this"))
        adjective = self.rng.choice(adjectives("place")) if self.maybe(0.15) else None
        return NounPhrase(noun, determiner, adjective=adjective)

    def whither(self) -> Adverbial:
        """Where to."""
        draw = self.rng.random()
        if draw < 0.3:
            return self.town("to", "nach")
        if draw < 0.38:
            return Adverbial("home", "nach Hause")
        _, noun, _, german = self.rng.choice(places())
        phrase = self.placed(noun)
        case = "dat" if german == "zu" else "acc"
        german = contracted(f"{german} {phrase.german(case, 'du')}")
        return Adverbial(f"to {phrase.english(False)}", german)

    def clause(self) -> Clause:
        """Any clause."""
        makers = [self.doing] * 3 + [self.seeing] * 5 + [self.going] * 2 + [self.being] * 4
        makers += [self.staying] * 2 + [self.helping, self.giving, self.giving, self.minding]
        return self.rng.choice(makers)()

    def timed(self, clause: Clause, frequent: bool = True) -> Clause:
        """With a time or how often, perhaps, and perhaps denied."""
        if self.maybe(0.16):
            clause = replace(clause, negative=True)
        draw = self.rng.random()
        if draw < 0.3:
            choices = times(clause.tense)
            if choices:
                first = not clause.negative and self.maybe(0.4)
                clause = replace(clause, when=self.rng.choice(choices), time_first=first)
        elif draw < 0.42 and frequent and not clause.negative and clause.tense == "present":
            clause = replace(clause, frequency=Adverbial(*self.rng.choice(lexicon.FREQUENCIES)))
        return self.sensible(clause)

    def sensible(self, clause: Clause) -> Clause:
        """Nothing denied that German denies in another way."""
        parts = (clause.subject, clause.accusative, clause.dative, clause.about)
        if not clause.negative:
            return clause
        odd = any(
            isinstance(part, NounPhrase) and part.determiner in ("every", "no", *NUMBERS)
            for part in parts
        )
        others = (clause.dative, clause.about)
        odd |= any(isinstance(part, NounPhrase) and not part.is_definite for part in others)
        odd |= clause.tense in ("must", "may", "would like to")
        odd |= clause.tense == "present" and clause.when is not None
        odd |= clause.verb is not None and clause.verb.prefix[:1].isupper()
        return replace(clause, negative=False) if odd else clause

    def doing(self) -> Clause:
        """Someone sleeps."""
        verb = self.rng.choice(verbs("intransitive"))
        animals = verb.base in ("sleep", "swim", "wait", "play", "eat", "get up", "arrive")
        subject = self.somebody(animals=animals)
        clause = Clause(subject, verb, self.tense(verb, subject))
        if self.maybe(0.2) and verb.base in _HAS_MANNER:
            manners = list(lexicon.MANNERS)
            if clause.subject.agreement not in ("we", "they"):
                manners.remove(("together", "zusammen"))
            if verb.base in ("work", "cook", "swim", "dance", "read"):
                manners = [each for each in manners if each[0] not in ("loudly", "quietly")]
            clause = replace(clause, where=Adverbial(*self.rng.choice(manners)))
        return self.timed(clause)

    def staying(self) -> Clause:
        """Someone waits somewhere."""
        verb = self.rng.choice(verbs("stay"))
        animals = verb.base not in ("work", "sing")
        subject = self.somebody(animals=animals)
        return self.timed(Clause(subject, verb, self.tense(verb, subject), where=self.somewhere()))

    def going(self) -> Clause:
        """Someone goes somewhere."""
        verb, subject = self.rng.choice(verbs("go")), self.somebody(animals=False)
        where = self.whither()
        if verb.base == "travel":
            where = self.town("to", "nach")
        elif verb.base == "come" and self.maybe(0.5):
            return self.timed(Clause(subject, verb, "present", where=self.town("from", "aus")))
        return self.timed(Clause(subject, verb, self.tense(verb, subject), where=where))

    def seeing(self) -> Clause:
        """Someone sees something."""
        frame = self.rng.choice([name for name in lexicon.VERBS if name.startswith("see ")])
        verb, subject = self.rng.choice(verbs(frame)), self.somebody(animals=False)
        kind = frame.removeprefix("see ")
        if verb.base in ("hear",):
            kind = self.rng.choice(("person", "animal"))
        if verb.base == "like" and self.maybe(0.4):
            kind = self.rng.choice(("food", "drink"))
        clause = Clause(
            subject, verb, self.tense(verb, subject), accusative=self.somebody_else(subject, kind)
        )
        if (
            self.maybe(0.12)
            and kind != "place"
            and verb.base
            in ("see", "buy", "eat", "read", "meet", "drink", "wash", "repair", "draw")
        ):
            clause = replace(clause, where=self.somewhere())
        return self.timed(clause)

    def helping(self) -> Clause:
        """Someone helps someone."""
        verb, subject = self.rng.choice(verbs("help")), self.somebody(animals=False)
        return self.timed(
            Clause(subject, verb, self.tense(verb, subject), dative=self.somebody_else(subject))
        )

    def giving(self) -> Clause:
        """Someone gives someone something."""
        verb, subject = self.rng.choice(verbs("give")), self.somebody(animals=False)
        kind = self.rng.choice(("thing", "thing", "text", "food"))
        what = self.noun_phrase(kind, owned=False)
        whom = self.somebody_else(subject)
        return self.timed(
            Clause(
                subject,
                verb,
                self.tense(verb, subject),
                dative=whom,
                accusative=what,
                to=self.maybe(0.4),
            )
        )

    def minding(self) -> Clause:
        """Someone waits for someone."""
        verb, subject = self.rng.choice(verbs("wait for")), self.somebody(animals=False)
        kind = "vehicle" if verb.base == "wait" and self.maybe(0.5) else "person"
        if verb.base == "play":
            kind = self.rng.choice(("person", "animal"))
        return self.timed(
            Clause(
                subject, verb, self.tense(verb, subject), about=self.somebody_else(subject, kind)
            )
        )

    def being(self) -> Clause:
        """Someone or something is something."""
        tense = self.rng.choice(["present"] * 6 + ["past"] * 3 + ["future"])
        draw = self.rng.random()
        if draw < 0.2:
            return self.having_a_trade(tense)
        if draw < 0.35:
            kind = self.rng.choice(("thing", "animal", "vehicle", "clothes", "text"))
            what = self.noun_phrase(kind, counted=False)
            return self.timed(Clause(what, None, tense, where=self.near()), frequent=False)
        if draw < 0.45:
            return self.timed(Clause(self.somebody(), None, tense, where=self.somewhere()))
        return self.being_so(tense)

    def having_a_trade(self, tense: str) -> Clause:
        """She is a doctor; of names that nobody has, German could not tell the gender."""
        who = self.rng.choice((self.pronoun("he", "she"), self.name()))
        known = f"{lexicon.WOMEN} {lexicon.MEN}".split()
        if isinstance(who, Name) and who.word not in known:
            who = self.pronoun("he", "she")
        trade, german = self.rng.choice(list(lines(lexicon.TRADES)))
        word = german.split()[0 if who.agreement == "he" else 1]
        article = "an" if trade[0] in "aeiou" else "a"
        return Clause(who, None, tense, predicate=Adverbial(f"{article} {trade}", word))

    def being_so(self, tense: str) -> Clause:
        """Someone or something is old, or older than another."""
        kinds = "person person animal thing clothes vehicle text place food drink"
        kind = self.rng.choice(kinds.split())
        subject: Phrase
        if kind == "person":
            subject = self.somebody(animals=False)
        else:
            subject = self.noun_phrase(kind, counted=False)
        if isinstance(subject, NounPhrase):
            determiner = subject.determiner if subject.is_definite else "the"
            subject = replace(subject, determiner=determiner, adjective=None)
        adjective = self.rng.choice(adjectives(kind))
        is_colour = adjective.english in lexicon.COLOURS
        if isinstance(subject, NounPhrase) and self.maybe(0.2) and not is_colour:
            other = replace(self.noun_phrase(kind, counted=False), adjective=None)
            if other.noun != subject.noun and other.is_definite:
                if other.determiner == "your":
                    return self.being()
                english = f"{adjective.english_comparative} than {other.english(False)}"
                german = f"{adjective.german_comparative} als {other.german('nom', 'du')}"
                return Clause(subject, None, tense, predicate=Adverbial(english, german))
        degrees = (("", ""), ("", ""), ("", ""), ("very ", "sehr "), ("too ", "zu "))
        degree = self.rng.choice(degrees)
        if is_colour:
            degree = ("", "")
        predicate = Adverbial(degree[0] + adjective.english, degree[1] + adjective.german)
        is_present = tense == "present"
        return self.timed(Clause(subject, None, tense, predicate=predicate), frequent=is_present)

    def sentence(self) -> Pair:
        """A sentence in both languages."""
        makers = [self.statement] * 9 + [self.question] * 3 + [self.asking] * 2
        makers += [self.joined, self.because, self.because, self.when, self.that, self.that]
        makers += [self.there_is, self.this_is]
        return self.rng.choice(makers)()

    def pair(self, english: str, german: Sequence[str], mark: str = ".") -> Pair:
        """With capital letters and a mark; contracted as people do, now and then."""
        if self.maybe(0.35):
            for long, short in _SHORT.items():
                english = re.sub(rf"\b{long}\b", short, english)
        if self.maybe(0.35):
            english = _SHORT_SUBJECTS.sub(_shortened, english)
        targets = dict.fromkeys(f"{text[0].upper()}{text[1:]}{mark}" for text in german)
        return Pair(f"{english[0].upper()}{english[1:]}{mark}", tuple(targets))

    def statement(self) -> Pair:
        """A main clause."""
        clause = self.clause()
        return self.pair(clause.english(), [clause.german(you) for you in ADDRESSES])

    def question(self) -> Pair:
        """Whether it is so."""
        clause = plain(self.clause())
        german = [clause.german(you, "question") for you in ADDRESSES]
        return self.pair(clause.english(question=True), german, "?")

    def asking(self) -> Pair:
        """When, where, why, what or whom."""
        draw = self.rng.random()
        if draw < 0.3:
            verb, subject = self.rng.choice(verbs("stay")), self.somebody()
            clause = Clause(subject, verb, self.tense(verb, subject))
            if self.maybe(0.5):
                kind = self.rng.choice(("thing", "place", "person", "animal", "vehicle"))
                subject = replace(self.noun_phrase(kind, counted=False), adjective=None)
                if subject.is_definite and subject.determiner != "every":
                    clause = Clause(subject, None, self.rng.choice(("present", "present", "past")))
            word = ("where", "wo")
        elif draw < 0.45:
            verb = self.rng.choice(verbs("see thing") + verbs("see food") + verbs("see text"))
            subject = self.somebody(animals=False)
            clause = Clause(subject, verb, self.tense(verb, subject))
            word = ("what", "was")
        elif draw < 0.65:
            clause = replace(self.clause(), subject=_WHO, time_first=False, negative=False)
            return self.pair(clause.english(), [clause.german(you) for you in ADDRESSES], "?")
        elif draw < 0.72:
            kind = self.rng.choice(("person", "animal", "place", "thing", "text"))
            subject = self.noun_phrase(kind, counted=False) if self.maybe(0.6) else self.somebody()
            size = self.rng.choice(
                [each for each in adjectives(kind) if each.english not in lexicon.COLOURS]
            )
            clause = Clause(subject, None, "present")
            word = (f"how {size.english}", f"wie {size.german}")
        else:
            clause = replace(
                self.clause(), when=None, time_first=False, negative=False, frequency=None
            )
            word = self.rng.choice((("when", "wann"), ("why", "warum")))
        german = [f"{word[1]} {clause.german(you, 'question')}" for you in ADDRESSES]
        return self.pair(f"{word[0]} {clause.english(question=True)}", german, "?")

    def joined(self) -> Pair:
        """Two main clauses."""
        english, german = self.rng.choice((("and", " und"), (", but", ", aber"), ("or", " oder")))
        first, second = (replace(self.clause(), time_first=False) for _ in range(2))
        comma = "" if english.startswith(",") else " "
        return self.pair(
            f"{first.english()}{comma}{english} {second.english()}",
            [f"{first.german(you)}{german} {second.german(you)}" for you in ADDRESSES],
        )

    def because(self) -> Pair:
        """A main clause and a subordinate one behind it."""
        english, german = self.rng.choice(
            (("because", "weil"), ("because", "weil"), ("although", "obwohl"), ("if", "wenn"))
        )
        first, second = self.clause(), replace(self.clause(), time_first=False)
        return self.pair(
            f"{first.english()} {english} {second.english()}",
            [
                f"{first.german(you)}, {german} {second.german(you, 'subordinate')}"
                for you in ADDRESSES
            ],
        )

    def when(self) -> Pair:
        """A subordinate clause and a main one behind it, which begins with its verb."""
        english, german = self.rng.choice((("when", "wenn"), ("if", "wenn"), ("because", "weil")))
        first, second = (replace(self.clause(), time_first=False) for _ in range(2))
        if english == "when" and first.tense in ("past", "perfect"):
            first = replace(first, tense="present", when=None)
        return self.pair(
            f"{english} {first.english()}, {second.english()}",
            [
                f"{german} {first.german(you, 'subordinate')}, {second.german(you, 'question')}"
                for you in ADDRESSES
            ],
        )

    def that(self) -> Pair:
        """What someone knows."""
        english, german, irregular = self.rng.choice(
            (
                ("know", "wissen", None), ("think", "denken", None), ("hope", "hoffen", None),
                ("believe", "glauben", None), ("say", "sagen", None),
            )
        )  # fmt: skip
        who = self.somebody(animals=False)
        what = replace(self.clause(), time_first=False)
        verb = with_s(english) if who.agreement in ("he", "she") else english
        that = "" if what.subject.is_pronoun and self.maybe(0.4) else "that "
        return self.pair(
            f"{who.english(True)} {verb} {that}{what.english()}",
            [
                f"{who.german('nom', you)} {conjugate(german, who.row(you), irregular)}, "
                f"dass {what.german(you, 'subordinate')}"
                for you in ADDRESSES
            ],
        )

    def this_is(self) -> Pair:
        """What or who this is."""
        kind = self.rng.choice(("thing", "animal", "person", "place", "text", "clothes", "vehicle"))
        phrase = self.noun_phrase(kind, counted=False)
        if phrase.determiner in ("this", "these", ""):
            phrase = replace(phrase, determiner="my")
        english, german = ("these are", "das sind") if phrase.plural else ("this is", "das ist")
        return self.pair(
            f"{english} {phrase.english(False)}",
            [f"{german} {phrase.german('nom', you)}" for you in ADDRESSES],
        )

    def there_is(self) -> Pair:
        """Something is somewhere."""
        phrase = self.noun_phrase(self.rng.choice(("thing", "animal", "person")), owned=False)
        determiner = self.rng.choice(("two", "three", "many", "four")) if phrase.plural else "a"
        phrase = replace(phrase, determiner=determiner)
        where = self.somewhere()
        verb = "are" if phrase.plural else "is"
        german = (
            f"{where.german} {conjugate('sein', phrase.row('du'))} {phrase.german('nom', 'du')}"
        )
        return self.pair(f"there {verb} {phrase.english(True)} {where.english}", [german])


def _shortened(found: re.Match[str]) -> str:
    pronoun, verb = found.group().split()
    return pronoun + {"am": "'m", "is": "'s", "are": "'re", "will": "'ll"}[verb]


def invented_name(rng: random.Random) -> str:
    """A name of two or three syllables, so that names are learned to be copied."""
    syllables = (
        rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.choice((2, 2, 3)))
    )
    return ("".join(syllables) + rng.choice(("", "n", "r", "l", "k"))).capitalize()


@cache
def phrases() -> tuple[Pair, ...]:
    """What is said as it stands."""
    found = []
    for line in lexicon.PHRASES.strip().splitlines():
        source, *targets = line.split(" = ")
        found.append(Pair(source, tuple(targets)))
    return tuple(found)


def sentences(seed: int) -> Iterator[Pair]:
    """Sentences without end, each seed's its own."""
    writer = Writer(random.Random(seed))
    while True:
        pair = writer.sentence()
        if len(pair.source.split()) <= LONGEST:
            yield pair


def one_target(rng: random.Random, targets: Sequence[str]) -> str:
    """One of the translations, the likelier ones more often."""
    return rng.choices(targets, _WEIGHTS[: len(targets)])[0]
