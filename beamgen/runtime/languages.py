"""Languages of a translator: the codes among its tokenizer's special tokens.

Such a tokenizer marks every text with its language, by a special token that has no other role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beamgen.errors import PromptError, close_matches
from beamgen.tokenizer.tokenizer import Tokenizer

_SOME = 12  # named where no code is like the one that was asked for


@dataclass(frozen=True)
class Languages:
    """What a tokenizer calls its languages.

    Attributes:
        ids: of each code, as it is spelled.
        default: the id that marks a text.
        place: where it stands in the text's ids, from the end where it is negative.
    """

    ids: Mapping[str, int]
    default: int
    place: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Languages | None:
        """Those of a tokenizer; None where it marks no language."""
        named = {name for name in tokenizer.special_tokens_map.values() if isinstance(name, str)}
        codes = {token: i for i, token in tokenizer.special_tokens.items() if token not in named}
        around = tokenizer.encode("")
        marks = [place for place, token in enumerate(around) if token in codes.values()]
        if len(marks) != 1:
            return None
        (place,) = marks
        default = around[place]
        text = tokenizer.encode("a")
        return cls(codes, default, place if text[place] == default else place - len(around))

    def id_of(self, code: str) -> int:
        """The id of a code, which may be spelled without the underscores around it.

        Raises:
            PromptError: there is no such language.
        """
        for spelled in (code, f"__{code}__"):
            if spelled in self.ids:
                return self.ids[spelled]
        names = sorted(name.strip("_") for name in self.ids)
        some = ", ".join(names[:_SOME]) + (" and more" if len(names) > _SOME else "")
        raise PromptError(
            f"'{code}' is none of the {len(names)} languages of this tokenizer",
            close_matches(code, names) or f"there are {some}",
        )

    def marked(self, ids: Sequence[int], code: str) -> list[int]:
        """The ids of a text, in the language of that code.

        Raises:
            PromptError: there is no such language, or the ids hold no mark.
        """
        language, marked = self.id_of(code), list(ids)
        if len(marked) < abs(self.place) or marked[self.place] != self.default:
            raise PromptError(
                f"src_lang '{code}' was given, and the source has no special tokens",
                "leave out src_lang, or let the tokenizer put them around the text",
            )
        marked[self.place] = language
        return marked


def one_for_each(name: str, given: str | Sequence[str], rows: int) -> list[str]:
    """A language for each of so many sources, given one for all or one for each.

    Raises:
        PromptError: there are more or fewer than sources.
    """
    languages = [given] * rows if isinstance(given, str) else list(given)
    if len(languages) != rows:
        raise PromptError(
            f"{name} names {len(languages)} languages for {rows} sources",
            "give one for all of them, or one for each",
        )
    return languages


def has_no_languages(name: str, folder: object) -> PromptError:
    """What to raise where a language is asked for by a name that nothing can stand for."""
    return PromptError(
        f"{name} was given, and the tokenizer of {folder} marks no language",
        "leave it out, and say in the text what to do, as the model was trained on it",
    )
