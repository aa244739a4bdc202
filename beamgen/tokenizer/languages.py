"""The languages that a tokenizer is told of: a token beside a text says which it is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from beamgen.errors import PromptError, close_matches

_SHOWN = 8


@dataclass(frozen=True)
class Languages:
    """What a class of HF's with a ``src_lang`` puts around a text.

    Attributes:
        ids: of each language's token, by HF's code.
        src_lang: the code of texts of which none is given; None where there are no languages.
        tgt_lang: the same of translations; that of texts where the config names none.
        eos_token_id: stands behind every text.
        before: whether the language's token stands before the text; else behind its EOS.
        prefixes: how a text may begin to say into which language it is to be translated, in
            a tokenizer that is told so and nothing else.
    """

    ids: Mapping[str, int] = field(default_factory=dict)
    src_lang: str | None = None
    tgt_lang: str | None = None
    eos_token_id: int | None = None
    before: bool = True
    prefixes: Sequence[str] = ()

    def around(self, ids: Sequence[int], src_lang: str | None) -> list[int]:
        """A text's ids with what belongs around it in a language, the own one where none is given.

        Raises:
            PromptError: there is no such language.

        Source: ``set_src_lang_special_tokens`` of HF's classes.
        """
        language = self.id_of(src_lang or self.src_lang or "")
        ends = [] if self.eos_token_id is None else [self.eos_token_id]
        return [language, *ids, *ends] if self.before else [*ids, *ends, language]

    def id_of(self, code: str) -> int:
        """The token of a language, which is also HF's ``forced_bos_token_id`` of a target.

        Raises:
            PromptError: there is no such language.
        """
        if code in self.ids:
            return self.ids[code]
        if not self.ids:
            raise PromptError(
                f"the package's tokenizer is told of no languages, '{code}' was given",
                f"begin the text with {' or '.join(self.prefixes[:3])}"
                if self.prefixes
                else "leave src_lang and tgt_lang out",
            )
        known = sorted(self.ids)
        few = ", ".join(known[:_SHOWN]) + (" ..." if len(known) > _SHOWN else "")
        raise PromptError(
            f"the package's tokenizer knows no language '{code}'",
            close_matches(code, known) or f"it knows {len(known)}: {few}",
        )


NO_LANGUAGES = Languages()
