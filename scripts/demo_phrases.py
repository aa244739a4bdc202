"""Who or what in English and German: pronouns, names, and nouns with what belongs to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import demo_lexicon as lexicon
from demo_words import Adjective, Noun

# Whom "you" addresses: one friend, a stranger, several friends.
ADDRESSES = ("du", "Sie", "ihr")

_CASES = ("nom", "acc", "dat", "gen")
_GENDERS = ("m", "f", "n", "p")
_Table = dict[str, tuple[str, str, str, str]]
# Endings by case, of masculine, feminine, neuter and plural.
_STRONG: _Table = {
    "nom": ("er", "e", "es", "e"), "acc": ("en", "e", "es", "e"),
    "dat": ("em", "er", "em", "en"), "gen": ("es", "er", "es", "er"),
}  # fmt: skip
_EIN = _STRONG | {"nom": ("", "e", "", "e"), "acc": ("en", "e", "", "e")}
_WEAK_ADJECTIVE: _Table = {
    "nom": ("e", "e", "e", "en"), "acc": ("en", "e", "e", "en"),
    "dat": ("en",) * 4, "gen": ("en",) * 4,
}  # fmt: skip
_MIXED_ADJECTIVE = _WEAK_ADJECTIVE | {
    "nom": ("er", "e", "es", "en"), "acc": ("en", "e", "es", "en"),
}  # fmt: skip
_STRONG_ADJECTIVE = _STRONG | {"gen": ("en", "er", "en", "er")}
_THE = {
    "nom": ("der", "die", "das", "die"), "acc": ("den", "die", "das", "die"),
    "dat": ("dem", "der", "dem", "den"), "gen": ("des", "der", "des", "der"),
}  # fmt: skip
_DER_WORDS = {"this": "dies", "these": "dies", "every": "jed"}
_EIN_WORDS = {
    "a": "ein", "no": "kein", "my": "mein", "his": "sein", "her": "ihr", "our": "unser",
    "their": "ihr",
}  # fmt: skip
_YOUR = {"du": "dein", "Sie": "Ihr", "ihr": "euer"}
NUMBERS = dict(lexicon.NUMBERS)
# English subject, object, German nominative, accusative, dative, and the row of a conjugation.
_PRONOUNS = {
    "I": ("me", "ich", "mich", "mir", 0),
    "he": ("him", "er", "ihn", "ihm", 2),
    "she": ("her", "sie", "sie", "ihr", 2),
    "we": ("us", "wir", "uns", "uns", 3),
    "they": ("them", "sie", "sie", "ihnen", 5),
}
_YOU = {
    "du": ("du", "dich", "dir", 1), "Sie": ("Sie", "Sie", "Ihnen", 5),
    "ihr": ("ihr", "euch", "euch", 4),
}  # fmt: skip


class Phrase(Protocol):
    """Who or what: a pronoun, a name, a noun with what belongs to it."""

    @property
    def agreement(self) -> str:
        """The English pronoun that it conjugates like."""

    @property
    def is_pronoun(self) -> bool:
        """Whether it is one."""

    @property
    def is_definite(self) -> bool:
        """Whether "nicht" comes behind it, and not "kein" into it."""

    def english(self, is_subject: bool) -> str:
        """As the subject or an object."""

    def german(self, case: str, you: str) -> str:
        """In a case, where "you" is ``you``."""

    def row(self, you: str) -> int:
        """The row of a German conjugation."""


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun."""

    word: str
    is_pronoun: bool = True
    is_definite: bool = True

    @property
    def agreement(self) -> str:
        """Itself."""
        return self.word

    def english(self, is_subject: bool) -> str:
        """As "she" and "her"."""
        return self.word if is_subject or self.word == "you" else _PRONOUNS[self.word][0]

    def german(self, case: str, you: str) -> str:
        """As "sie", "sie" and "ihr"."""
        forms = _YOU[you][:3] if self.word == "you" else _PRONOUNS[self.word][1:4]
        return str(forms[_CASES.index(case)])

    def row(self, you: str) -> int:
        """See ``Phrase``."""
        return int(_YOU[you][3] if self.word == "you" else _PRONOUNS[self.word][4])


@dataclass(frozen=True)
class Name:
    """Someone's name, the same in both languages."""

    word: str
    agreement: str
    is_pronoun: bool = False
    is_definite: bool = True
    german_word: str = ""

    def english(self, is_subject: bool) -> str:
        """The name."""
        del is_subject
        return self.word

    def german(self, case: str, you: str) -> str:
        """The name, with an s in the genitive."""
        del you
        return f"{self.word}s" if case == "gen" else self.german_word or self.word

    def row(self, you: str) -> int:
        """The third person's."""
        del you
        return 2


@dataclass(frozen=True)
class NounPhrase:
    """A noun with a determiner, perhaps an adjective, perhaps an owner in place of the former."""

    noun: Noun
    determiner: str
    plural: bool = False
    adjective: Adjective | None = None
    owner: Name | NounPhrase | None = None
    is_pronoun: bool = False

    @property
    def agreement(self) -> str:
        """The third person's."""
        return "they" if self.plural else "he"

    @property
    def is_definite(self) -> bool:
        """See ``Phrase``."""
        return self.owner is not None or self.determiner not in ("a", "")

    def english(self, is_subject: bool) -> str:
        """As "the old woman", "Anna's dogs" and "two red cars"."""
        noun = self.noun.english_plural if self.plural else self.noun.english
        words = f"{self.adjective.english} {noun}" if self.adjective else noun
        if self.owner is not None:
            owner = self.owner.english(is_subject)
            is_bare = self.owner.agreement == "they" and owner[-1] == "s"
            return f"{owner}'{'' if is_bare else 's'} {words}"
        if self.determiner == "a":
            return f"an {words}" if words[0] in "aeiou" else f"a {words}"
        return f"{self.determiner} {words}".strip()

    def german(self, case: str, you: str) -> str:
        """Declined."""
        column = _GENDERS.index("p" if self.plural else self.noun.gender)
        determiner, endings = self._determined(case, column, you)
        adjective = self.adjective.with_ending(endings[case][column]) if self.adjective else ""
        noun = self.noun.in_german(case, self.plural)
        owner = self.owner.german("gen", you) if isinstance(self.owner, NounPhrase) else ""
        return " ".join(filter(None, (determiner, adjective, noun, owner)))

    def _determined(self, case: str, column: int, you: str) -> tuple[str, _Table]:
        """The determiner, and the endings of adjectives behind it."""
        word = self.determiner
        if isinstance(self.owner, Name):
            return self.owner.german("gen", you), _STRONG_ADJECTIVE
        if self.owner is not None or word == "the":
            return _THE[case][column], _WEAK_ADJECTIVE
        if word in _DER_WORDS:
            return _DER_WORDS[word] + _STRONG[case][column], _WEAK_ADJECTIVE
        if word in NUMBERS:
            is_many = word == "many" and case == "dat"
            return NUMBERS[word] + ("n" if is_many else ""), _STRONG_ADJECTIVE
        if word == "":
            return "", _STRONG_ADJECTIVE
        stem, ending = _YOUR[you] if word == "your" else _EIN_WORDS[word], _EIN[case][column]
        return (f"eur{ending}" if stem == "euer" and ending else stem + ending), _MIXED_ADJECTIVE

    def row(self, you: str) -> int:
        """The third person's."""
        del you
        return 5 if self.plural else 2

    @property
    def denied(self) -> NounPhrase:
        """With "no" as its determiner."""
        return replace(self, determiner="no")


@dataclass(frozen=True)
class Both:
    """Two phrases with "and"."""

    first: Name | NounPhrase
    second: Name | NounPhrase
    agreement: str = "they"
    is_pronoun: bool = False
    is_definite: bool = True

    def english(self, is_subject: bool) -> str:
        """Both."""
        return f"{self.first.english(is_subject)} and {self.second.english(is_subject)}"

    def german(self, case: str, you: str) -> str:
        """Both."""
        return f"{self.first.german(case, you)} und {self.second.german(case, you)}"

    def row(self, you: str) -> int:
        """The plural's."""
        del you
        return 5
