"""The demo checkpoints' training texts, from WordNet's data files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

# Files of WordNet's lexicographers (see lexnames(5WN)) that read like biology and medicine:
# animal, body, phenomenon, process, state, substance.
BIOMEDICAL_FILES = frozenset({5, 8, 19, 22, 26, 27})
# Definitions in other files that do too, those of drugs among them.
BIOMEDICAL_WORDS = re.compile(
    r"\b(bacteri\w+|blood|cells?|diseases?|drugs?|infect\w+|medic\w+|organs?|patients?|surg\w+"
    r"|tissues?|treat\w*|virus\w*)\b"
)


class Entry(NamedTuple):
    """One sense of WordNet.

    Attributes:
        part_of_speech: ``noun`` or ``verb``.
        lexicographer_file: number of the file it was written in, a rough topic.
        term: the first of its synonyms.
        gloss: its definition, without remarks and usage examples.
        common: whether it occurs in the texts that WordNet's authors tagged with senses.
    """

    part_of_speech: str
    lexicographer_file: int
    term: str
    gloss: str
    common: bool


class Example(NamedTuple):
    """A training text, in the two parts that a user would give and get."""

    prompt: str
    answer: str


def read_entries(wordnet: Path) -> list[Entry]:
    """Reads the nouns and verbs whose definition is a short phrase.

    Names of genera, thousands of which are defined in the same words, are left out.

    Args:
        wordnet: the folder with ``data.noun``, ``data.verb`` and ``cntlist.rev``.

    Returns:
        The senses, in the order of the files.
    """
    counted = (wordnet / "cntlist.rev").read_text("ascii").splitlines()
    common_senses = {line.split()[0] for line in counted}
    entries = []
    for part_of_speech, number in (("noun", 1), ("verb", 2)):
        for line in (wordnet / f"data.{part_of_speech}").read_text("ascii").splitlines():
            if line.startswith("  "):  # the licence
                continue
            fields, _, raw_gloss = line.partition("|")
            _, lexicographer_file, _, _, term, lexical_id, *_ = fields.split()
            gloss = clean_gloss(raw_gloss)
            if 3 <= len(gloss.split()) <= 16 and "genus of" not in gloss:
                # See senseidx(5WN) for the makeup of this key.
                key = f"{term.lower()}%{number}:{lexicographer_file}:{int(lexical_id, 16):02}::"
                entries.append(
                    Entry(
                        part_of_speech,
                        int(lexicographer_file),
                        term.replace("_", " "),
                        gloss,
                        key in common_senses,
                    )
                )
    return entries


def clean_gloss(raw: str) -> str:
    """Keeps the first definition of a gloss, without remarks in parentheses and examples."""
    definition = re.sub(r"\([^()]*\)", " ", raw.partition('"')[0]).partition(";")[0]
    definition = re.sub(r"\s+([,:.])", r"\1", " ".join(definition.split()))
    return definition.strip(" ,:.")


def read_licence(wordnet: Path) -> str:
    """Returns the licence that heads every data file, without its line numbers."""
    lines = (wordnet / "data.noun").read_text("ascii").splitlines()
    header = [line for line in lines if line.startswith("  ")]
    return "\n".join(re.sub(r"^ +\d+ ?", "", line).rstrip() for line in header) + "\n"


def glossary_examples(entries: Iterable[Entry]) -> list[Example]:
    """Phrases the common senses as lines of a glossary."""
    headwords = {"noun": "{}:", "verb": "to {}:"}
    return [
        Example(headwords[entry.part_of_speech].format(entry.term), f"{entry.gloss}.")
        for entry in entries
        if entry.common
    ]


def biomedical_examples(entries: Iterable[Entry]) -> list[Example]:
    """Phrases the nouns of biology and medicine as sentences."""
    article = re.compile(r"(an?|the|any|one|either|each|all|some) ")
    return [
        Example(f"{entry.term} is", f"{entry.gloss}.")
        for entry in entries
        if entry.part_of_speech == "noun"
        and article.match(entry.gloss)
        and (entry.lexicographer_file in BIOMEDICAL_FILES or BIOMEDICAL_WORDS.search(entry.gloss))
    ]


def chat_examples(entries: Iterable[Entry]) -> list[Example]:
    """Phrases the common senses as questions and answers."""
    questions = {
        "noun": "What is {}?",
        "verb": "What does it mean to {}?",
    }
    return [
        Example(
            questions[entry.part_of_speech].format(entry.term),
            f"{entry.gloss[0].upper()}{entry.gloss[1:]}.",
        )
        for entry in entries
        if entry.common
    ]
