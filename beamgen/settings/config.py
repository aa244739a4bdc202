"""The settings of a search, under Hugging Face's names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from beamgen.errors import PromptError, SettingError
from beamgen.settings.catalogue import Catalogue
from beamgen.settings.checks import ID_LISTS, check_penalty, check_settings
from beamgen.settings.hf_fields import chosen_settings, refuse_unknown
from beamgen.settings.parameters import PARAMETERS

if TYPE_CHECKING:
    from transformers import GenerationConfig

#: What is generated at most when neither the caller nor the checkpoint says.
DEFAULT_MAX_NEW_TOKENS = 64
DEFAULT_NUM_BEAMS = 5

#: ``early_stopping`` as the graph's integer input.
EARLY_STOPPING: dict[bool | str, int] = {False: 0, True: 1, "never": 2}

#: What HF heeds with ``do_sample`` only.
SAMPLING = ("seed", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff",
            "eta_cutoff")  # fmt: skip

Ids = tuple[int, ...]


@dataclass(frozen=True)
class SearchConfig:
    """How to search.

    Field names and meanings are HF ``GenerationConfig``'s, but for the last two.

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
        sequence_bias: pairs of ids and the bias of the token that completes them.
        bad_words_ids: sequences that may not come.
        forced_bos_token_id: first token after a prompt of one token.
        forced_eos_token_id: one of these has to be the last token at max_new_tokens.
        remove_invalid_values: replace scores that are not finite numbers.
        exponential_decay_length_penalty: (start, factor) or None.
        suppress_tokens, begin_suppress_tokens: ids that never come, or not first.
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
    no_repeat_ngram_size: int = 0
    sequence_bias: tuple[tuple[Ids, float], ...] = ()
    bad_words_ids: tuple[Ids, ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: Ids = ()
    remove_invalid_values: bool = False
    exponential_decay_length_penalty: tuple[int, float] | None = None
    suppress_tokens: Ids = ()
    begin_suppress_tokens: Ids = ()
    renormalize_logits: bool = False
    output_scores: bool = False
    seed: int | None = None
    catalogue: Catalogue | None = None

    def __post_init__(self) -> None:
        """Refuse what no search can honour."""
        check_settings(self)

    @classmethod
    def from_generation_config(
        cls,
        generation_config: GenerationConfig,
        overrides: Mapping[str, Any] | None = None,
        spelled_out: Collection[str] = (),
    ) -> SearchConfig:
        """A checkpoint's own defaults, with the caller's settings on top.

        Args:
            generation_config: the checkpoint's.
            overrides: the caller's settings; None means not given.
            spelled_out: fields the checkpoint's file names, which count even
                where they have HF's default.

        The override ``"default"`` stands for HF's own default of that field.
        ``num_beams`` and the length limits get beamgen's defaults where the
        checkpoint sets none (HF's are 1 beam and 20 tokens, prompt included); a
        checkpoint that samples by default keeps HF's one beam.

        Raises:
            SettingError: a field is set that a file cannot honour, an unknown
                setting, or no end-of-sequence id is known.
        """
        known = {field.name for field in fields(cls)}
        chosen = {name: value for name, value in (overrides or {}).items() if value is not None}
        replaced = _replaced_limits([n for n, v in chosen.items() if not _is_default(v)])
        values = _canonical(
            chosen_settings(generation_config, {**replaced, **chosen}, spelled_out, known)
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
        return cls(eos_token_id=eos, pad_token_id=pad, **values)

    @property
    def fill_token_id(self) -> int:
        """What follows a finished sequence: beam search takes pad id 0 for unset.

        Source: ``GenerationMixin._beam_search`` (output_fill_value).
        """
        unset = self.num_beams > 1 and self.pad_token_id == 0 and self.eos_token_id
        return self.eos_token_id[0] if unset else self.pad_token_id

    def with_overrides(self, overrides: Mapping[str, Any]) -> SearchConfig:
        """These settings with those that are not None replaced; ``"default"`` resets one.

        Raises:
            SettingError: an unknown name, an impossible combination, or a setting
                that sampling alone heeds, without ``do_sample``.
        """
        known = {field.name: field.default for field in fields(self)}
        refuse_unknown(overrides, known)
        for name in ("eos_token_id", "pad_token_id"):
            if _is_default(overrides.get(name)):
                raise SettingError(f"{name} has no default", "give ids, or leave it out")
        chosen = {
            name: known[name] if _is_default(value) else value
            for name, value in overrides.items()
            if value is not None
        }
        config = replace(self, **_replaced_limits(chosen), **_canonical(chosen))
        unheeded = [name for name in SAMPLING if name in chosen and not config.do_sample]
        if unheeded:
            raise SettingError(
                f"{', '.join(unheeded)} would change nothing, for nothing is drawn",
                "set do_sample too (--do-sample)",
            )
        return config

    def for_prompt(self, prompt_len: int, room: int = DEFAULT_MAX_NEW_TOKENS) -> SearchConfig:
        """HF's max_length/min_length as max_new_tokens/min_new_tokens.

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
        check_penalty(self, longest)
        return replace(
            self,
            max_new_tokens=longest,
            min_new_tokens=min(shortest, longest),
            max_length=None,
            min_length=0,
        )

    def inputs(self) -> dict[str, np.ndarray]:
        """The graph's parameter inputs, see ``beamgen.settings.parameters``.

        Where only ``max_length`` is set, ``max_new_tokens`` is what it leaves a
        one-token prompt; callers that know the prompt use ``for_prompt`` first.
        """
        config = self.for_prompt(1)
        values: dict[str, Any] = {field.name: getattr(config, field.name) for field in fields(self)}
        nothing = np.zeros(0, np.int64)
        catalogue = self.catalogue
        values |= {
            "early_stopping": EARLY_STOPPING[self.early_stopping],
            "seed": self.seed or 0,
            "sequence_bias_ids": _right_aligned([ids for ids, _ in self.sequence_bias]),
            "sequence_bias": [bias for _, bias in self.sequence_bias],
            "bad_words_ids": _right_aligned(self.bad_words_ids),
            "catalogue_offsets": nothing if catalogue is None else catalogue.offsets,
            "catalogue_tokens": nothing if catalogue is None else catalogue.tokens,
            "catalogue_next": nothing if catalogue is None else catalogue.next,
        }
        return {
            parameter.name: np.atleast_1d(
                np.asarray(_or_nothing(values[parameter.name]), parameter.dtype)
            )
            for parameter in PARAMETERS
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``beamgen.json``, without a catalogue; ``from_json`` reads them."""
        names = (field.name for field in fields(self) if field.name != "catalogue")
        return {name: _plain(getattr(self, name)) for name in names}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SearchConfig:
        """Read what ``to_json`` wrote."""
        return cls(**_canonical(values))


def stacked_inputs(configs: Sequence[SearchConfig]) -> dict[str, np.ndarray]:
    """The graph's parameter inputs for a batch of requests, one config per row.

    A parameter in which rows differ becomes ``[batch]``.

    Raises:
        SettingError: rows differ in what all rows of a batch have to share.
    """
    rows = [config.inputs() for config in configs]
    stacked = {}
    for parameter in PARAMETERS:
        values = [row[parameter.name] for row in rows]
        same = all(np.array_equal(value, values[0]) for value in values)
        if not same and not parameter.per_row:
            raise SettingError(
                f"{parameter.name} has to be the same for all rows of a batch",
                "search those prompts in batches of their own",
            )
        # one seed for all rows would be counted up by row
        split = not same or parameter.name == "seed"
        stacked[parameter.name] = np.concatenate(values) if split else values[0]
    return stacked


def _canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in the one form that SearchConfig holds: tuples for lists and dicts."""
    forms: dict[str, Callable[[Any], Any]] = {
        **dict.fromkeys(ID_LISTS, _as_ids),
        "bad_words_ids": _as_sequences,
        "sequence_bias": _as_biases,
        "exponential_decay_length_penalty": _as_pair,
    }
    return {name: forms[name](value) if name in forms else value for name, value in values.items()}


def _is_default(value: Any) -> bool:
    return isinstance(value, str) and value == "default"


def _replaced_limits(chosen: Collection[str]) -> dict[str, Any]:
    """A limit given now replaces the other form of it given before."""
    forms = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}
    return {forms[name]: None for name in chosen if name in forms and forms[name] not in chosen}


def _as_ids(value: int | Iterable[int] | None) -> Ids | None:
    if value is None:
        return None
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(value)
    return (value,)  # what is no id is refused with all that is wrong


def _as_sequences(value: Any) -> tuple[Any, ...]:
    return tuple(_as_ids(sequence) for sequence in _iterable("bad_words_ids", value))


def _as_biases(value: Any) -> tuple[Any, ...]:
    """HF's two forms, ``{(5, 9): 1.0}`` and ``[[[5, 9], 1.0]]``; a sequence counts once."""
    pairs = value.items() if isinstance(value, Mapping) else _iterable("sequence_bias", value)
    try:
        return tuple({_as_ids(ids): bias for ids, bias in pairs}.items())
    except (TypeError, ValueError):
        raise SettingError(
            f"sequence_bias must be pairs of ids and a number, not {value!r:.80}",
            "for example [[[5, 9], -2.0]]",
        ) from None


def _as_pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _iterable(name: str, value: Any) -> Iterable[Any]:
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise SettingError(f"{name} must be a list, not {value!r}", "for example [[5, 9], [7]]")
    return value


def _right_aligned(sequences: Sequence[Ids]) -> np.ndarray:
    """Int64 ``[n, longest]``, filled with -1 on the left; ``[0, 1]`` of none."""
    longest = max((len(ids) for ids in sequences), default=1)
    aligned = np.full((len(sequences), longest), -1, np.int64)
    for row, ids in enumerate(sequences):
        aligned[row, longest - len(ids) :] = ids
    return aligned


def _or_nothing(value: Any) -> Any:
    return () if value is None else value


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, which JSON can hold."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
