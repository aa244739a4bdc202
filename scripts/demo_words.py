"""Words in English and German, and their forms. The words are in ``demo_lexicon.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import demo_lexicon as lexicon

_IRREGULAR = {
    "sein": ("bin", "bist", "ist", "sind", "seid", "sind"),
    "war": ("war", "warst", "war", "waren", "wart", "waren"),
    "haben": ("habe", "hast", "hat", "haben", "habt", "haben"),
    "hatte": ("hatte", "hattest", "hatte", "hatten", "hattet", "hatten"),
    "werden": ("werde", "wirst", "wird", "werden", "werdet", "werden"),
    "wissen": ("weiß", "weißt", "weiß", "wissen", "wisst", "wissen"),
    "mögen": ("mag", "magst", "mag", "mögen", "mögt", "mögen"),
    "können": ("kann", "kannst", "kann", "können", "könnt", "können"),
    "müssen": ("muss", "musst", "muss", "müssen", "müsst", "müssen"),
    "wollen": ("will", "willst", "will", "wollen", "wollt", "wollen"),
    "dürfen": ("darf", "darfst", "darf", "dürfen", "dürft", "dürfen"),
    "sollte": ("sollte", "solltest", "sollte", "sollten", "solltet", "sollten"),
    "möchte": ("möchte", "möchtest", "möchte", "möchten", "möchtet", "möchten"),
}


@dataclass(frozen=True)
class Noun:
    """A noun in both languages; one that has no plural is not counted."""

    english: str
    english_plural: str
    german: str
    gender: str
    german_plural: str | None
    is_weak: bool

    def in_german(self, case: str, plural: bool) -> str:
        """Declined."""
        if plural:
            word = str(self.german_plural)
            return f"{word}n" if case == "dat" and word[-1] not in "ns" else word
        if self.is_weak:
            return self.german if case == "nom" else str(self.german_plural)
        if case != "gen" or self.gender == "f":
            return self.german
        syllables = len(re.findall("[aeiouyäöü]+", self.german.lower()))
        is_long = self.german[-1] in "sßzx" or self.german.endswith("st")
        return self.german + (
            "es" if is_long or (syllables == 1 and self.german[-1] not in "aeiouhw") else "s"
        )


@dataclass(frozen=True)
class Adjective:
    """An adjective in both languages."""

    english: str
    german: str
    german_comparative: str

    @property
    def english_comparative(self) -> str:
        """As "older" and "more beautiful"."""
        word = self.english
        irregular = {"good": "better", "bad": "worse"}
        if word in irregular:
            return irregular[word]
        if word.endswith("y") and len(word) < 9:
            return f"{word[:-1]}ier"
        if len(re.findall("[aeiou]+", word.removesuffix("e"))) > 1 and word not in (
            "quiet",
            "clever",
        ):
            return f"more {word}"
        if re.search("[^aeiou][aeiou][dgnt]$", word):
            word += word[-1]
        return f"{word.removesuffix('e')}er"

    def with_ending(self, ending: str) -> str:
        """Declined."""
        stem = {"teuer": "teur", "dunkel": "dunkl"}.get(self.german, self.german)
        return stem.removesuffix("e") + ending


@dataclass(frozen=True)
class Verb:
    """A verb in both languages, with the preposition of its object."""

    base: str
    past: str
    participle: str
    infinitive: str
    prefix: str
    irregular: tuple[str, str] | None
    german_participle: str
    auxiliary: str
    prepositions: tuple[str, str, str] | None

    @property
    def third(self) -> str:
        """As "sees" and "gets up"."""
        word, _, rest = self.base.partition(" ")
        return f"{with_s(word)} {rest}".strip() if word != "have" else "has"

    @property
    def progressive(self) -> str:
        """As "seeing" and "getting up"."""
        word, _, rest = self.base.partition(" ")
        if re.search("[^aeiou]e$", word):
            word = word[:-1]
        elif re.fullmatch("[^aeiou]*[aeiou][bdgmnpt]", word) or word == "forget":
            word += word[-1]
        return f"{word}ing {rest}".strip()

    def conjugate(self, row: int) -> str:
        """The present tense, without its prefix."""
        return conjugate(self.infinitive, row, self.irregular)

    @property
    def whole_infinitive(self) -> str:
        """With its prefix."""
        return attached(self.prefix, self.infinitive)


def conjugate(infinitive: str, row: int, irregular: tuple[str, str] | None = None) -> str:
    """The present tense of a German verb, ``row`` of ich, du, er, wir, ihr, sie."""
    if infinitive in _IRREGULAR:
        return _IRREGULAR[infinitive][row]
    if row in (1, 2) and irregular is not None:
        return irregular[row - 1]
    stem = infinitive.removesuffix("n").removesuffix("e")
    if row in (3, 5):
        return infinitive
    if row == 0:
        return f"{stem.removesuffix('el')}le" if infinitive.endswith("eln") else f"{stem}e"
    e = "e" if re.search(r"([dt]|(ch|[^aeiouäöülrhmn])[mn])$", stem) else ""
    if row == 1:
        return f"{stem}{e}{'' if stem[-1] in 'sßzx' else 's'}t"
    return f"{stem}{e}t"


def attached(*parts: str) -> str:
    """A prefix and its verb: one word, or "Fußball spielen"."""
    prefix, verb = parts
    return f"{prefix} {verb}" if prefix[:1].isupper() else prefix + verb


def with_s(word: str) -> str:
    """The ending of plurals and of the third person."""
    if re.search("[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search("(s|x|z|ch|sh|o)$", word) else f"{word}s"


def lines(text: str) -> Iterator[tuple[str, str]]:
    """The English and the German side of each line of a table."""
    for line in text.strip().splitlines():
        english, german = line.split(" = ", 1)
        yield english, german


@cache
def nouns(kind: str) -> tuple[Noun, ...]:
    """The nouns of a kind."""
    found = []
    for english, german in lines(lexicon.NOUNS[kind]):
        word, *plural = english.split()
        own, gender, *more = german.split()
        found.append(
            Noun(
                word, plural[0] if plural else with_s(word), own, gender,
                more[0] if more else None, "weak" in more,
            )
        )  # fmt: skip
    return tuple(found)


@cache
def adjectives(kind: str) -> tuple[Adjective, ...]:
    """The adjectives that suit a kind of noun."""
    found = []
    for kinds, text in lexicon.ADJECTIVES.items():
        for english, german in lines(text) if kind in kinds.split() else ():
            word, *comparative = german.split()
            found.append(
                Adjective(
                    english, word, comparative[0] if comparative else f"{word.removesuffix('e')}er"
                )
            )
    return tuple(found)


@cache
def verbs(frame: str) -> tuple[Verb, ...]:
    """The verbs of a frame."""
    return tuple(_verb(english, german) for english, german in lines(lexicon.VERBS[frame]))


def _verb(english: str, german: str) -> Verb:
    forms, preposition = english.split(), ""
    if forms[-1] in ("for", "of", "about", "with"):
        preposition = forms.pop()
    base, past, participle = _principal_parts([form.replace("_", " ") for form in forms])
    found = re.fullmatch(
        r"(?:(\S+)\|)?(\S+?)(?: \((\S+) (\S+)\))?(?: (\S+))??(?: (sein))?"
        r"(?: (an|auf|mit|von|über) (acc|dat))?",
        german,
    )
    assert found is not None, german
    prefix, infinitive, du, er, german_participle, sein, preposition_of, case = found.groups()
    prefix = prefix or ""
    return Verb(
        base, past, participle, infinitive, prefix, (du, er) if du else None,
        _german_participle(prefix, infinitive, german_participle),
        "sein" if sein else "haben",
        (preposition, preposition_of, case) if preposition else None,
    )  # fmt: skip


def _principal_parts(forms: Sequence[str]) -> tuple[str, str, str]:
    """Base, past and past participle."""
    if len(forms) > 1:
        return forms[0], forms[1], forms[-1]
    word, _, rest = forms[0].partition(" ")
    if word.endswith("e"):
        past = f"{word}d"
    elif re.search("[^aeiou]y$", word):
        past = f"{word[:-1]}ied"
    else:
        past = f"{word}ed"
    past = f"{past} {rest}".strip()
    return forms[0], past, past


def _german_participle(prefix: str, infinitive: str, given: str | None) -> str:
    """As "gesehen", "angerufen" and "Fußball gespielt"."""
    if given is not None:
        return given if not prefix[:1].isupper() else f"{prefix} {given}"
    stem = infinitive.removesuffix("n").removesuffix("e")
    e = "e" if re.search(r"([dt]|(ch|[^aeiouäöülrhmn])[mn])$", stem) else ""
    ge = (
        ""
        if infinitive.endswith("ieren") or re.match("be|er|ver|ent|zer|über", infinitive)
        else "ge"
    )
    participle = f"{ge}{stem}{e}t"
    return attached(prefix, participle) if prefix else participle
