"""What a call says in words about what may be written, made into automata for its tokenizer."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from beamgen.errors import BeamgenWarning, SettingError
from beamgen.package.folder import Package
from beamgen.runtime.reader import Reader
from beamgen.settings.config import ResolvedSearch
from beamgen.settings.constraint import WHITESPACE, Constraint
from beamgen.settings.stop_strings import StopStrings
from beamgen.settings.vocabulary import Vocabulary
from beamgen.tokenizer.vocabulary import token_texts, vocabulary_of

#: In what other ways a call may say what ``constraint`` is.
WAYS = ("catalogue", "regex", "json_schema")

#: All that is made here.
MADE = (*WAYS, "stop_strings")

_Made = TypeVar("_Made", Constraint, StopStrings)

#: So many are kept, so that they are made once for many prompts.
_KEPT = 64


class Automata:
    """Makes constraints and stop strings for a package; equal ones once."""

    def __init__(self, package: Package, reader: Reader) -> None:
        """Make nothing yet."""
        self._package, self._reader = package, reader
        self._made: dict[tuple[str, str], Any] = {}

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of each token; see ``Generator.vocabulary``."""
        manifest = self._package.manifest
        tokenizer = self._reader.needed_tokenizer
        found = vocabulary_of(tokenizer, manifest.vocab_size)
        if manifest.encoder is not None and tokenizer.decode(tokenizer.encode_target(" a")) == "a":
            raise SettingError(
                f"no pattern can be held against what the tokenizer {tokenizer.name} writes: a "
                "decoder behind an encoder begins a text, whose first space it leaves out",
                "give whole answers instead: catalogue=[...], --catalogue FILE",
            )
        return found.without(manifest.search.eos_token_id)

    @cached_property
    def texts(self) -> Sequence[str]:
        """What each token adds to a text, as HF's stop strings read it."""
        return token_texts(self._reader.needed_tokenizer)

    def regex(self, pattern: str) -> Constraint:
        """See ``Generator.constraint``."""
        return self._kept("regex", pattern, lambda: Constraint.regex(pattern, self.vocabulary))

    def json_schema(self, schema: Any, whitespace: str = WHITESPACE) -> Constraint:
        """See ``Generator.constraint``."""
        return self._kept(
            "json_schema",
            [schema, whitespace],
            lambda: Constraint.json_schema(schema, self.vocabulary, whitespace=whitespace),
        )

    def catalogue(self, entries: Iterable[str | Sequence[int]]) -> Constraint:
        """See ``Generator.catalogue``."""
        if not isinstance(entries, list | tuple):
            return self._reader.catalogue(entries)
        return self._kept("catalogue", entries, lambda: self._reader.catalogue(entries))

    def stop_strings(self, strings: str | Sequence[str]) -> StopStrings:
        """See ``Generator.stop_strings``."""
        size = self._package.manifest.vocab_size
        return self._kept(
            "stop_strings", strings, lambda: StopStrings.of(strings, self.texts, size)
        )

    def resolved(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with automata in the place of words.

        Raises:
            SettingError: several say what may be written, or one is impossible.
            PromptError: the package has no tokenizer.
        """
        chosen = dict(settings)
        ways = {name: chosen.pop(name) for name in WAYS if name in chosen}
        given = {name: value for name, value in ways.items() if value is not None}
        named = [*given, *(["constraint"] if chosen.get("constraint") is not None else [])]
        if len(named) > 1:
            raise SettingError(
                f"{' and '.join(named)} were given, and each says alone what may be written",
                "give one of them; a pattern may hold alternatives: (a|b)",
            )
        for name, value in given.items():
            chosen["constraint"] = self._constraint(name, value)
        stops = chosen.get("stop_strings")
        if stops is not None and stops != [] and not isinstance(stops, StopStrings):
            is_default = isinstance(stops, str) and stops == "default"
            chosen["stop_strings"] = None if is_default else self.stop_strings(stops)
        return chosen

    def _constraint(self, name: str, value: Any) -> Any:
        if isinstance(value, Constraint):
            return value
        if name == "catalogue":
            return self.catalogue(value)
        make: Callable[[Any], Constraint] = self.regex if name == "regex" else self.json_schema
        if isinstance(value, list | tuple):
            return [None if each is None else make(each) for each in value]
        return make(value)

    def _kept(self, name: str, what: Any, make: Callable[[], _Made]) -> _Made:
        key = name, json.dumps(what, default=repr)
        found: _Made | None = self._made.get(key)
        if found is None:
            found = make()
            if len(self._made) >= _KEPT:
                self._made.pop(next(iter(self._made)))
            self._made[key] = found
        return found


def tell_of_short_limits(configs: Iterable[ResolvedSearch], stacklevel: int) -> None:
    """Warn where no text of a constraint can be whole within ``max_new_tokens``."""
    told = set()
    for config in configs:
        constraint = config.constraint
        if constraint is None or config.max_new_tokens > constraint.shortest:
            continue
        message = (
            f"the shortest text of the constraint ({constraint}) has {constraint.shortest} tokens "
            f"and an EOS, and max_new_tokens is {config.max_new_tokens}: no answer will be whole, "
            f"which its finish_reason 'length' says; set max_new_tokens to "
            f"{constraint.shortest + 1} or more"
        )
        if message not in told:
            warnings.warn(message, BeamgenWarning, stacklevel=stacklevel)
        told.add(message)
