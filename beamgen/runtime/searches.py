"""What a call asks of the searches of its prompts, checked before one begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from beamgen.errors import PromptError
from beamgen.package.folder import Package
from beamgen.runtime.automata import Automata
from beamgen.runtime.encoder import check_source_of
from beamgen.runtime.requests import configs_of_rows
from beamgen.settings.config import ResolvedSearch, SearchConfig
from beamgen.settings.constraint import Constraint
from beamgen.settings.prompts import Ids, check_batch, check_ids, check_lengths
from beamgen.settings.sources import AnySource
from beamgen.settings.stop_strings import StopStrings

#: Settings of so many searches are kept, so that they are checked once for many prompts.
_KNOWN = 512

#: Values of settings that can be compared without looking into them.
_COMPARED = (str, int, float, Constraint, StopStrings, type(None))


class Searches:
    """Makes the settings of searches in a package."""

    def __init__(self, package: Package, automata: Automata) -> None:
        """Make nothing yet."""
        self._package, self._automata = package, automata
        self._known: dict[frozenset[tuple[str, type, Any]], SearchConfig] = {}

    def config(self, settings: Mapping[str, Any]) -> SearchConfig:
        """The settings of one prompt's search; equal ones that draw nothing are made once."""
        settings = self._automata.resolved(settings)
        if not all(isinstance(value, _COMPARED) for value in settings.values()):
            return self.configs(settings, 1)[0]
        # 1 and True are equal, and one of them may be wrong
        key = frozenset((name, type(value), value) for name, value in settings.items())
        if key in self._known:
            return self._known[key]
        (config,) = self.configs(settings, 1)
        if not config.do_sample:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = config
        return config

    def configs(self, settings: Mapping[str, Any], rows: int) -> list[SearchConfig]:
        """The settings of each row's search."""
        chosen = self._automata.resolved(settings)
        return configs_of_rows(
            self._package.manifest.search, chosen, rows, self._package.manifest.backend
        )

    def resolved(
        self,
        input_ids: Ids,
        attention_mask: Ids,
        config: SearchConfig | Sequence[SearchConfig],
        source: AnySource | None,
    ) -> list[ResolvedSearch]:
        """The settings of searches of this length, all of it checked.

        Raises:
            PromptError, SettingError: see ``search_ids``.
        """
        manifest = self._package.manifest
        prompt_len = input_ids.shape[-1] if input_ids.ndim else 0
        room = manifest.limits.room(prompt_len)
        given = [config] if isinstance(config, SearchConfig) else config
        configs = [_for_prompt(each, prompt_len, room) for each in given]
        check_batch(input_ids, attention_mask, manifest.vocab_size)
        check_source_of(self._package, source, attention_mask)
        for each in dict.fromkeys(configs):
            check_lengths(manifest.limits, input_ids.shape[1], each.max_new_tokens)
            _check_named_ids(each, manifest.vocab_size)
            if each.constraint is not None:
                each.constraint.check_fits(manifest.vocab_size)
        if not isinstance(config, SearchConfig) and len(configs) != len(input_ids):
            raise PromptError(
                f"{len(configs)} configs were given for {len(input_ids)} rows", "give one for each"
            )
        return configs


@lru_cache(maxsize=_KNOWN)
def _for_prompt(config: SearchConfig, prompt_len: int, room: int) -> ResolvedSearch:
    """As ``SearchConfig.for_prompt``, which checks all settings, and rows share most of theirs."""
    return config.for_prompt(prompt_len, room)


@lru_cache(maxsize=_KNOWN)
def _check_named_ids(config: SearchConfig, vocab_size: int) -> None:
    """Hold the token ids among settings within the vocabulary.

    Raises:
        PromptError: see ``check_ids``.
    """
    for name, ids in config.named_ids.items():
        check_ids(name, np.asarray(ids, np.int64), vocab_size)
