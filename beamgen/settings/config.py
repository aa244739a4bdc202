"""The settings of a search, under Hugging Face's names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from beamgen.errors import PromptError, SettingError
from beamgen.settings.catalogue import Catalogue
from beamgen.settings.checks import check_penalty, check_settings, refuse_problems
from beamgen.settings.hf_fields import chosen_settings, refuse_unknown
from beamgen.settings.kinds import Arrays, Ids
from beamgen.settings.rules import Rules, installed_rules
from beamgen.settings.search import DEFAULT_NUM_BEAMS
from beamgen.settings.setting import REQUIRED
from beamgen.settings.table import BY_NAME, PER_ROW, SAMPLING, SETTINGS

if TYPE_CHECKING:
    from transformers import GenerationConfig

#: What is generated at most when neither the caller nor the checkpoint says.
DEFAULT_MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class SearchConfig:
    """How to search.

    Field names and meanings are HF ``GenerationConfig``'s, but for the last two. Each has
    a row in ``beamgen.settings.table``, which says what its values may be.

    Attributes:
        num_beams: running candidates per row, at least 1 (1 is greedy search, or sampling).
        num_return_sequences: hypotheses returned per row, at most num_beams; any
            number of independent ones where one beam samples.
        max_new_tokens: tokens generated at most; takes precedence over max_length.
        max_length: padded prompt + generated tokens at most.
        min_new_tokens: no EOS before that many; takes precedence over min_length.
        min_length: no EOS before padded prompt + generated tokens reach it.
        length_penalty: any sign; a hypothesis' score is its summed
            log-probability divided by ``generated length ** length_penalty``.
        early_stopping: False, True or "never".
        eos_token_id: ids that end a sequence; may be empty.
        pad_token_id: fills what is shorter than the longest.
        do_sample: draw tokens instead of taking the best.
        temperature: above 0; with do_sample, like those down to eta_cutoff.
        top_k: that many best tokens, 0 for all. 50 by default, as in HF.
        top_p: above 0, at most 1.
        min_p, typical_p, epsilon_cutoff, eta_cutoff: probabilities; 0 is off, for
            typical_p 1.
        repetition_penalty: above 0; 1 is off.
        no_repeat_ngram_size: 0 is off.
        encoder_repetition_penalty: above 0; 1 is off. Of ids of the source, or of a decoder's
            prompt; above 1 makes them likely.
        encoder_no_repeat_ngram_size: no n-gram of the source, or of a decoder's prompt; 0 is off.
        sequence_bias: pairs of ids and the bias of the token that completes them.
        bad_words_ids: sequences that may not come.
        forced_bos_token_id: first token after a prompt of one token.
        forced_eos_token_id: one of these has to be the last token at max_new_tokens.
        remove_invalid_values: replace scores that are not finite numbers.
        exponential_decay_length_penalty: (start, factor) or None.
        suppress_tokens, begin_suppress_tokens: ids that never come, or not first.
        return_timestamps: tokens of times around what is said, for models that have them.
        no_timestamps_token_id: the id before those of times, or None.
        max_initial_timestamp_index: the latest time to begin at, or None.
        renormalize_logits: normalise after processing.
        output_scores: also give beam indices and each token's log-probability.
        seed: of the draws, 0 to 2**63 - 1; None takes another one each time.
        catalogue: token sequences to stay among, or None.

    Raises:
        SettingError: on construction, one error listing everything impossible.
    """

    eos_token_id: Ids
    pad_token_id: int
    num_beams: int = DEFAULT_NUM_BEAMS
    num_return_sequences: int = 1
    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int = 0
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    repetition_penalty: float = 1.0
    encoder_repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    sequence_bias: tuple[tuple[Ids, float], ...] = ()
    bad_words_ids: tuple[Ids, ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: Ids = ()
    remove_invalid_values: bool = False
    exponential_decay_length_penalty: tuple[int, float] | None = None
    suppress_tokens: Ids = ()
    begin_suppress_tokens: Ids = ()
    return_timestamps: bool = False
    no_timestamps_token_id: int | None = None
    max_initial_timestamp_index: int | None = None
    renormalize_logits: bool = False
    output_scores: bool = False
    seed: int | None = None
    catalogue: Catalogue | None = None

    def __post_init__(self) -> None:
        """Refuse what no search can honour."""
        check_settings(vars(self))

    @classmethod
    def from_generation_config(
        cls,
        generation_config: GenerationConfig,
        overrides: Mapping[str, Any] | None = None,
        spelled_out: Collection[str] = (),
        rules: Rules | None = None,
        read_apart: Collection[str] = (),
    ) -> SearchConfig:
        """A checkpoint's own defaults, with the caller's settings on top.

        Args:
            generation_config: the checkpoint's.
            overrides: the caller's settings; None means not given.
            spelled_out: fields the checkpoint's file names, which count even
                where they have HF's default.
            rules: by which it says it; those of the installed transformers unless given.
            read_apart: fields of the checkpoint's that are no settings of a search.

        The override ``"default"`` stands for HF's own default of that field.
        ``num_beams`` and the length limits get beamgen's defaults where the
        checkpoint sets none (HF's are 1 beam and 20 tokens, prompt included); a
        checkpoint that samples by default keeps HF's one beam.

        Raises:
            SettingError: a field is set that a file cannot honour, an unknown
                setting, or no end-of-sequence id is known.
        """
        chosen = {name: value for name, value in (overrides or {}).items() if value is not None}
        replaced = _replaced_limits([n for n, v in chosen.items() if not _is_default(v)])
        values = _canonical(
            chosen_settings(
                generation_config,
                {**replaced, **chosen},
                spelled_out,
                BY_NAME,
                rules or installed_rules(),
                read_apart,
            )
        )
        if values.get("do_sample") and "do_sample" not in chosen:
            values.setdefault("num_beams", 1)  # a checkpoint that samples means HF's one beam
        eos = values.pop("eos_token_id", None)
        if eos is None and _is_default(chosen.get("eos_token_id")):
            raise SettingError("eos_token_id has no default", "give ids, or leave it out")
        if eos is None:
            raise SettingError(
                "the checkpoint names no eos_token_id, so a search would never end early",
                "pass --eos-token-id ID (repeatable), or --eos-token-id none to say "
                "that there is none",
            )
        pad = values.pop("pad_token_id", None)
        if pad is None:
            # HF: "Setting `pad_token_id` to `eos_token_id` for open-end generation."
            if not eos:
                raise SettingError(
                    "neither a pad_token_id nor an eos_token_id is known", "pass --pad-token-id ID"
                )
            pad = eos[0]
        config = cls(eos_token_id=eos, pad_token_id=pad, **values)
        config.check_rules(rules or installed_rules())
        return config

    def check_rules(self, rules: Rules) -> None:
        """Refuse what ``generate`` does otherwise than a setting says.

        Args:
            rules: of the file that searches.

        Raises:
            SettingError: there is such a setting.
        """
        refuse_problems(
            [
                problem
                for setting in SETTINGS
                if setting.unlike is not None
                for problem in setting.unlike(vars(self), rules)
            ]
        )

    @property
    def fill_token_id(self) -> int:
        """What follows a finished sequence: beam search takes pad id 0 for unset.

        Source: ``GenerationMixin._beam_search`` (output_fill_value).
        """
        unset = self.num_beams > 1 and self.pad_token_id == 0 and self.eos_token_id
        return self.eos_token_id[0] if unset else self.pad_token_id

    @property
    def named_ids(self) -> dict[str, Ids]:
        """Every token id among the settings, by the setting that names it."""
        return {s.name: s.kind.token_ids(getattr(self, s.name)) for s in SETTINGS}

    def with_overrides(self, overrides: Mapping[str, Any]) -> SearchConfig:
        """These settings with those that are not None replaced; ``"default"`` resets one.

        Raises:
            SettingError: an unknown name, an impossible combination, or a setting
                that sampling alone heeds, where nothing was said about ``do_sample``.
        """
        refuse_unknown(overrides, BY_NAME)
        for name, value in overrides.items():
            if _is_default(value) and BY_NAME[name].default is REQUIRED:
                raise SettingError(f"{name} has no default", "give ids, or leave it out")
        chosen = {
            name: BY_NAME[name].default if _is_default(value) else value
            for name, value in overrides.items()
            if value is not None
        }
        config = replace(self, **_replaced_limits(chosen), **_canonical(chosen))
        if not config.do_sample and "do_sample" not in chosen:
            _refuse_unheeded(chosen)
        return config

    @property
    def chains(self) -> int:
        """Sequences that are searched for each prompt: its beams, or the draws of one beam."""
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences

    def ready_to_draw(self) -> SearchConfig:
        """These settings, with HF's default of what is impossible where tokens are drawn."""
        wrong = [name for name in SAMPLING if _is_impossible(name, getattr(self, name))]
        return replace(self, **{name: BY_NAME[name].default for name in wrong})

    def for_prompt(self, prompt_len: int, room: int = DEFAULT_MAX_NEW_TOKENS) -> ResolvedSearch:
        """The search of one prompt length: HF's max_length and min_length become new tokens.

        Args:
            prompt_len: S, the padded prompt, which HF's lengths count.
            room: new tokens for which the model has positions; it limits the
                default, not what was asked for.

        Raises:
            PromptError: max_length leaves nothing to generate.
            SettingError: the length penalty carries scores of that length out
                of the range in which a search can tell them apart.

        Source: ``GenerationMixin._prepare_generated_length``.
        """
        longest = self.max_new_tokens
        if longest is None and self.max_length is not None:
            longest = self.max_length - prompt_len
            if longest < 1:
                raise PromptError(
                    f"the prompt has {prompt_len} tokens, which leaves nothing to generate "
                    f"within max_length {self.max_length}",
                    "raise max_length, or set max_new_tokens, which does not count the prompt",
                )
        if longest is None:
            longest = max(1, min(DEFAULT_MAX_NEW_TOKENS, room))
        shortest = self.min_new_tokens
        if shortest is None:
            shortest = max(self.min_length - prompt_len, 0)
        check_penalty(self.num_beams, self.length_penalty, longest)
        lengths = {
            "max_new_tokens": longest,
            "min_new_tokens": min(shortest, longest),
            "max_length": None,
            "min_length": 0,
        }
        return ResolvedSearch(**{**vars(self), **lengths})

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``beamgen.json``, without a catalogue; ``from_json`` reads them."""
        names = (field.name for field in fields(self) if field.name != "catalogue")
        return {name: _plain(getattr(self, name)) for name in names}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SearchConfig:
        """Read what ``to_json`` wrote.

        Raises:
            SettingError: a setting is impossible, or not set though it has to be.
        """
        for name, value in values.items():
            if value is None and name in BY_NAME and BY_NAME[name].default is not None:
                raise SettingError(f"{name} is null", "give it a value")
        return cls(**_canonical(values))


@dataclass(frozen=True)
class ResolvedSearch(SearchConfig):
    """The settings of a search whose prompt length is known; only these can be fed to a graph.

    ``SearchConfig.for_prompt`` makes it. Both limits are there, and none counts the prompt.
    """

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    min_new_tokens: int = 0

    def inputs(self) -> Arrays:
        """The graph's parameter inputs, see ``beamgen.settings.table.parameters_with``."""
        return {
            name: array
            for setting in SETTINGS
            if setting.in_graph
            for name, array in setting.kind.arrays(
                setting.name, getattr(self, setting.name)
            ).items()
        }


def stacked_inputs(configs: Sequence[ResolvedSearch]) -> Arrays:
    """The graph's parameter inputs for a batch of requests, one config per row.

    A parameter in which rows differ becomes ``[batch]``.

    Raises:
        SettingError: rows differ in what all rows of a batch have to share.
    """
    stacked = {}
    for setting in filter(lambda each: each.in_graph, SETTINGS):
        values = [getattr(config, setting.name) for config in configs]
        # one seed for all rows would be counted up by row
        split = setting.name == "seed" or any(value != values[0] for value in values)
        rows = [
            setting.kind.arrays(setting.name, value) for value in (values if split else values[:1])
        ]
        for name, first in rows[0].items():
            arrays = [row[name] for row in rows]
            same = name != "seed" and all(np.array_equal(array, first) for array in arrays[1:])
            if not same and name not in PER_ROW:
                raise SettingError(
                    f"{name} has to be the same for all rows of a batch",
                    "search those prompts in batches of their own",
                )
            stacked[name] = first if same else np.concatenate(arrays)
    return stacked


def _canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in the one form that SearchConfig holds: tuples for lists and dicts."""
    return {name: BY_NAME[name].kind.canonical(value) for name, value in values.items()}


def _refuse_unheeded(chosen: Mapping[str, Any]) -> None:
    """Refuse what could change draws; a temperature of 0 means that there are none.

    Raises:
        SettingError: there is such a setting.
    """
    unheeded = [n for n in SAMPLING if n in chosen and not _is_impossible(n, chosen[n])]
    if unheeded:
        raise SettingError(
            f"{', '.join(unheeded)} would change nothing, for nothing is drawn",
            "set do_sample too (--do-sample)",
        )


def _is_impossible(name: str, value: Any) -> bool:
    return any(BY_NAME[name].kind.problems(name, value))


def _is_default(value: Any) -> bool:
    return isinstance(value, str) and value == "default"


def _replaced_limits(chosen: Collection[str]) -> dict[str, Any]:
    """A limit given now replaces the other form of it given before."""
    forms = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}
    return {forms[name]: None for name in chosen if name in forms and forms[name] not in chosen}


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, which JSON can hold."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
