"""The settings of a beam search, under Hugging Face's names."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from beamgen.errors import PromptError, SettingError, close_matches

if TYPE_CHECKING:
    from transformers import GenerationConfig

#: What is generated at most when neither the caller nor the checkpoint says.
DEFAULT_MAX_NEW_TOKENS = 64
DEFAULT_NUM_BEAMS = 5

#: ``early_stopping`` as the graph's integer input.
EARLY_STOPPING: dict[bool | str, int] = {False: 0, True: 1, "never": 2}


@dataclass(frozen=True)
class Parameter:
    """One search parameter that the file takes as an input with a default.

    Attributes:
        name: the graph input's name, which is HF's.
        dtype: ``int64`` or ``float32``.
        length: what its one axis counts: ``1``, ``batch`` (a length-1 value
            holds for all rows) or ``n`` (any number).
        meaning: one line for tables and viewers.
    """

    name: str
    dtype: str
    length: str
    meaning: str


PARAMETERS = (
    Parameter("max_new_tokens", "int64", "batch", "tokens generated at most (at least 1)"),
    Parameter("min_new_tokens", "int64", "batch", "tokens generated before an EOS may come"),
    Parameter("num_beams", "int64", "1", "beams per row; 1 is greedy search"),
    Parameter("num_return_sequences", "int64", "1", "hypotheses returned, at most num_beams"),
    Parameter(
        "length_penalty", "float32", "batch", "scores are divided by length ** length_penalty"
    ),
    Parameter("early_stopping", "int64", "1", '0 False, 1 True, 2 "never"'),
    Parameter("eos_token_id", "int64", "n", "ids that end a sequence"),
    Parameter("pad_token_id", "int64", "1", "fills finished rows (0 counts as unset, as in HF)"),
)


@dataclass(frozen=True)
class SearchConfig:
    """How to search. Field names and meanings are HF ``GenerationConfig``'s.

    Attributes:
        num_beams: running candidates per row, at least 1 (1 is greedy search).
        num_return_sequences: hypotheses returned per row, at most num_beams.
        max_new_tokens: tokens generated at most; takes precedence over max_length.
        max_length: padded prompt + generated tokens at most.
        min_new_tokens: no EOS before that many; takes precedence over min_length.
        min_length: no EOS before padded prompt + generated tokens reach it.
        length_penalty: any sign; a hypothesis' score is its summed
            log-probability divided by ``generated length ** length_penalty``.
        early_stopping: False, True or "never".
        eos_token_id: ids that end a sequence; may be empty.
        pad_token_id: fills what is shorter than the longest.

    Raises:
        SettingError: on construction, one error listing everything impossible.
    """

    eos_token_id: tuple[int, ...]
    pad_token_id: int
    num_beams: int = DEFAULT_NUM_BEAMS
    num_return_sequences: int = 1
    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int = 0
    length_penalty: float = 1.0
    early_stopping: bool | str = False

    def __post_init__(self) -> None:
        """Refuse what no search can honour."""
        problems = list(self._problems())
        if problems:
            causes, cures = zip(*problems, strict=True)
            raise SettingError("; ".join(causes), "; ".join(dict.fromkeys(cures)))

    def _problems(self) -> Iterable[tuple[str, str]]:
        """Cause and cure of everything impossible."""
        counts = ("num_beams", "num_return_sequences", "max_new_tokens", "max_length")
        for name in (*counts, "min_new_tokens", "min_length"):
            value = getattr(self, name)
            low = 1 if name in counts else 0
            if value is not None and (not _is_int(value) or not low <= value < 2**31):
                cause = f"{name} must be a whole number of at least {low}, not {value!r}"
                yield cause, f"set {name} to {low} or more"
        beams, returned = self.num_beams, self.num_return_sequences
        if _is_int(beams) and _is_int(returned) and 1 <= beams < returned:
            cause = f"num_return_sequences ({returned}) is more than num_beams ({beams})"
            yield cause, f"raise num_beams to {returned}, or ask for {beams} or fewer"
        if not _is_number(self.length_penalty) or not math.isfinite(self.length_penalty):
            cause = f"length_penalty must be a finite number, not {self.length_penalty!r}"
            yield cause, "1.0 divides scores by the length, 0.0 leaves them as they are"
        if not any(self.early_stopping is known for known in (True, False)) and (
            self.early_stopping != "never"
        ):
            cause = f'early_stopping must be False, True or "never", not {self.early_stopping!r}'
            yield cause, "False is HF's default"
        for token in (*self.eos_token_id, self.pad_token_id):
            if not _is_int(token) or token < 0:
                cause = f"token ids must be whole numbers of at least 0, not {token!r}"
                yield cause, "use ids of the checkpoint's vocabulary"
        longest, shortest = self.max_new_tokens, self.min_new_tokens
        if longest is not None and shortest is not None and shortest > longest:
            cause = f"min_new_tokens ({shortest}) is more than max_new_tokens ({longest})"
            yield cause, "lower the one or raise the other"

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
        checkpoint sets none (HF's are 1 beam and 20 tokens, prompt included).

        Raises:
            SettingError: a field is set that the loop backend does not honour
                yet, an unknown setting, or no end-of-sequence id is known.
        """
        from transformers import GenerationConfig as HFGenerationConfig

        defaults = HFGenerationConfig().to_dict()
        known = {field.name for field in fields(cls)}
        chosen = {name: value for name, value in (overrides or {}).items() if value is not None}
        _refuse_unknown(chosen, set(defaults) | known)
        replaced = _replaced_limits([n for n, v in chosen.items() if v != "default"])
        chosen = {n: defaults[n] if v == "default" else v for n, v in chosen.items()}
        chosen = {**replaced, **chosen}
        merged = {**defaults, **generation_config.to_dict(), **chosen}
        set_here = {
            name: value
            for name, value in merged.items()
            if value != defaults.get(name)
            or (name in known and (name in chosen or (name in spelled_out and value is not None)))
        }
        _refuse_unsupported(set_here, known)
        values = {name: set_here[name] for name in known if name in set_here}
        eos = _as_ids(values.pop("eos_token_id", None))
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

    def with_overrides(self, overrides: Mapping[str, Any]) -> SearchConfig:
        """These settings with those that are not None replaced.

        Raises:
            SettingError: an unknown name, or an impossible combination.
        """
        chosen = {name: value for name, value in overrides.items() if value is not None}
        known = {field.name for field in fields(self)}
        _refuse_unknown(chosen, known)
        if "eos_token_id" in chosen:
            chosen["eos_token_id"] = _as_ids(chosen["eos_token_id"])
        return replace(self, **_replaced_limits(chosen), **chosen)

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
        _check_penalty(self, longest)
        return replace(
            self,
            max_new_tokens=longest,
            min_new_tokens=min(shortest, longest),
            max_length=None,
            min_length=0,
        )

    def inputs(self) -> dict[str, np.ndarray]:
        """The graph's parameter inputs, each of one axis.

        Where only ``max_length`` is set, ``max_new_tokens`` is what it leaves a
        one-token prompt; callers that know the prompt use ``for_prompt`` first.
        """
        config = self.for_prompt(1)
        values: dict[str, Any] = {field.name: getattr(config, field.name) for field in fields(self)}
        values["early_stopping"] = EARLY_STOPPING[self.early_stopping]
        return {
            parameter.name: np.atleast_1d(np.asarray(values[parameter.name], parameter.dtype))
            for parameter in PARAMETERS
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``beamgen.json``; ``from_json`` reads them back."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SearchConfig:
        """Read what ``to_json`` wrote."""
        return cls(**{**values, "eos_token_id": tuple(values["eos_token_id"])})


# Fields of GenerationConfig that do not change which tokens come out of this
# search: outputs asked for, caches, compilation, other models' settings.
_WITHOUT_EFFECT = frozenset(
    {
        "assistant_confidence_threshold",
        "assistant_early_exit",
        "assistant_lookbehind",
        "bos_token_id",
        "cache_config",
        "cache_implementation",
        "compile_config",
        "decoder_start_token_id",
        "disable_compile",
        "is_assistant",
        "max_matching_ngram_size",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "prefill_chunk_size",
        "return_dict_in_generate",
        "return_legacy_cache",
        "target_lookbehind",
        "transformers_version",
        "use_cache",
    }
)

# HF ignores these unless do_sample is on, and do_sample is refused.
_ONLY_WITH_SAMPLING = frozenset(
    {"temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"}
)


def _refuse_unknown(chosen: Mapping[str, Any], known: set[str]) -> None:
    for name in chosen:
        if name not in known:
            raise SettingError(
                f"there is no generation setting called '{name}' here",
                close_matches(name, known) or f"there are {', '.join(sorted(known))}",
            )


def _refuse_unsupported(set_here: Mapping[str, Any], supported: set[str]) -> None:
    """Never ignore a setting: name every one that cannot be honoured yet."""
    refused = {
        name: value
        for name, value in set_here.items()
        if name not in supported | _WITHOUT_EFFECT | _ONLY_WITH_SAMPLING
        and not name.startswith("_")
    }
    if refused:
        listed = ", ".join(f"{name}={value!r}" for name, value in sorted(refused.items()))
        reset = " ".join(f"--set {name}=default" for name in sorted(refused))
        raise SettingError(
            f"the generation config sets {listed}, which the loop backend does not support yet",
            f"to export without, say so: {reset}",
        )


def _replaced_limits(chosen: Collection[str]) -> dict[str, Any]:
    """A limit given now replaces the other form of it given before."""
    forms = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}
    return {forms[name]: None for name in chosen if name in forms and forms[name] not in chosen}


def _as_ids(value: int | Iterable[int] | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(value)
    return (value,)  # what is no id is refused with everything else that is wrong


def _check_penalty(config: SearchConfig, longest: int) -> None:
    """Refuse scores that reach the -1e9 with which HF's search marks dead beams, or vanish.

    A summed log-probability may be some -10 a token.
    """
    if config.num_beams == 1:
        return  # greedy search knows no penalty
    power = -config.length_penalty * math.log10(longest)
    if power + math.log10(10 * longest) > 9 or power < -30:
        raise SettingError(
            f"length_penalty {config.length_penalty} on {longest} tokens multiplies scores by "
            f"1e{power:.0f}, beyond what a search can tell apart (HF's answers turn arbitrary)",
            "use a length_penalty nearer to 0, or a lower max_new_tokens",
        )


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_int(value) or isinstance(value, float | np.floating)


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, which JSON can hold."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
