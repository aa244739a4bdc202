"""Clauses in English and German, and the order of their words."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from demo_phrases import NounPhrase, Phrase
from demo_words import Verb, attached, conjugate

# English modal, whether "do" negates and asks, and the German one.
MODALS = {
    "can": (False, "können"), "must": (False, "müssen"), "should": (False, "sollte"),
    "may": (False, "dürfen"), "have to": (True, "müssen"), "want to": (True, "wollen"),
    "would like to": (False, "möchte"),
}  # fmt: skip
_CONTRACTED = {
    "in dem": "im", "in das": "ins", "an dem": "am", "an das": "ans", "zu dem": "zum",
    "zu der": "zur", "von dem": "vom",
}  # fmt: skip


class Adverbial(NamedTuple):
    """When or how, or where."""

    english: str
    german: str


@dataclass(frozen=True)
class Clause:
    """A clause as a tree.

    Attributes:
        subject: who does it.
        verb: what; None for "be".
        tense: present, progressive, past, perfect, future or a modal.
        negative: whether it is denied.
        dative: whom it is done to.
        accusative: who or what it is done to.
        about: the object of the verb's preposition.
        predicate: what follows "be".
        where: a place, a direction or a manner.
        when: a time.
        time_first: whether it begins with the time.
        frequency: "often" and the like.
        to: whether English has its indirect object behind the direct one.
    """

    subject: Phrase
    verb: Verb | None
    tense: str
    negative: bool = False
    dative: Phrase | None = None
    accusative: Phrase | None = None
    about: Phrase | None = None
    predicate: Adverbial | None = None
    where: Adverbial | None = None
    when: Adverbial | None = None
    time_first: bool = False
    frequency: Adverbial | None = None
    to: bool = False

    def english(self, question: bool = False) -> str:
        """The words, without a capital letter and punctuation."""
        subject = self.subject.english(True)
        auxiliary, verb = self._english_verb(question)
        words = [auxiliary, subject] if question else [subject, auxiliary]
        if self.negative:
            if question:
                words.append("not")
            else:
                words[-1] = "cannot" if auxiliary == "can" else f"{auxiliary} not"
                if auxiliary == "would like to":
                    words[-1] = "would not like to"
        frequency = self.frequency.english if self.frequency else ""
        words += [frequency, verb, *self._english_objects()]
        words += [each.english for each in (self.predicate, self.where) if each]
        if self.when is not None:
            words.insert(0 if self.time_first else len(words), self.when.english)
        return " ".join(" ".join(words).split())

    def _english_verb(self, question: bool) -> tuple[str, str]:
        """The auxiliary, and the rest."""
        who, verb = self.subject.agreement, self.verb
        third = who in ("he", "she")
        is_form = "am" if who == "I" else "is" if third else "are"
        base = verb.base if verb else "be"
        if self.tense == "progressive" and verb:
            return is_form, verb.progressive
        if self.tense == "perfect" and verb:
            return ("has" if third else "have"), verb.participle
        if self.tense == "future":
            return "will", base
        if self.tense in MODALS:
            if not MODALS[self.tense][0]:
                if question and self.tense == "would like to":
                    return "would", f"like to {base}"
                return self.tense, base
            modal = self.tense
            if self.negative or question:
                return ("does" if third else "do"), f"{modal} {base}"
            return (modal.replace("have", "has").replace("want", "wants") if third else modal), base
        if verb is None:
            past = "was" if third or who == "I" else "were"
            return (past if self.tense == "past" else is_form), ""
        if self.negative or question:
            return ("did" if self.tense == "past" else "does" if third else "do"), base
        return "", (verb.past if self.tense == "past" else verb.third if third else base)

    def _english_objects(self) -> list[str]:
        direct = self.accusative.english(False) if self.accusative else ""
        to_whom = self.dative.english(False) if self.dative else ""
        about = self.about.english(False) if self.about else ""
        if about and self.verb and self.verb.prepositions:
            about = f"{self.verb.prepositions[0]} {about}"
        return [direct, f"to {to_whom}"] if self.to else [to_whom, direct, about]

    def german(self, you: str, order: str = "main") -> str:
        """The words, in the order of a main clause, a question, or a subordinate clause."""
        finite, tail = self._german_verb(self.subject.row(you))
        subject = self.subject.german("nom", you)
        middle, time = self._middle(you), self.when.german if self.when else ""
        if order == "subordinate":
            joined = attached(*tail, finite) if self._is_split else " ".join([*tail, finite])
            words = [subject, *middle, joined]
        elif order == "question":
            words = [finite, subject, *middle, *tail]
        elif self.time_first:
            words = [time, finite, subject, *middle, *tail]
        else:
            words = [subject, finite, *middle, *tail]
        return " ".join(filter(None, words))

    @property
    def _is_split(self) -> bool:
        """Whether a prefix is all that is not the finite verb."""
        return self.verb is not None and self.verb.prefix != "" and self._is_simple

    @property
    def _is_simple(self) -> bool:
        return self.tense in ("present", "progressive")

    def _german_verb(self, row: int) -> tuple[str, list[str]]:
        """The finite verb, and what ends the clause."""
        verb = self.verb
        infinitive = verb.whole_infinitive if verb else "sein"
        if self.tense == "future":
            return conjugate("werden", row), [infinitive]
        if self.tense in MODALS:
            return conjugate(MODALS[self.tense][1], row), [infinitive]
        if self._is_simple:
            prefix = [verb.prefix] if verb and verb.prefix else []
            return (verb.conjugate(row) if verb else conjugate("sein", row)), prefix
        if verb is None or (verb.infinitive == "haben" and self.tense == "past"):
            return conjugate("hatte" if verb else "war", row), []
        return conjugate(verb.auxiliary, row), [verb.german_participle]

    def _middle(self, you: str) -> list[str]:
        """What stands between the finite verb and the end."""
        time = [self.when.german] if self.when and not self.time_first else []
        time += [self.frequency.german] if self.frequency else []
        direct, denied = self.accusative, self.negative
        if denied and isinstance(direct, NounPhrase) and not direct.is_definite:
            direct, denied = direct.denied, False
        pronouns: list[str] = []
        nouns: list[str] = []
        # pronouns go first, the accusative before the dative; nouns the other way round
        if direct is not None:
            (pronouns if direct.is_pronoun else nouns).append(direct.german("acc", you))
        if self.dative is not None:
            is_pronoun = self.dative.is_pronoun
            place = len(pronouns) if is_pronoun else 0
            (pronouns if is_pronoun else nouns).insert(place, self.dative.german("dat", you))
        objects = [*nouns, *time] if denied else [*time, *nouns]
        about = self.about
        end = [each.german for each in (self.predicate, self.where) if each]
        if about is not None and self.verb and self.verb.prepositions:
            _, preposition, case = self.verb.prepositions
            end.insert(0, f"{preposition} {about.german(case, you)}")
        return [*pronouns, *objects, *(["nicht"] if denied else []), *end]


def plain(clause: Clause) -> Clause:
    """What can be asked as it stands: neither denied nor begun with its time."""
    return replace(clause, negative=False, time_first=False)


def contracted(german: str) -> str:
    """With "in dem" as "im"."""
    return re.sub(
        r"\b(in|an|zu|von) (dem|das|der)\b",
        lambda found: _CONTRACTED.get(found.group(), found.group()),
        german,
    )
