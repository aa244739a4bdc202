"""What the settings of a search may be, each by itself and together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamgen.errors import SettingError
from beamgen.settings.catalogue import Catalogue

if TYPE_CHECKING:
    from beamgen.settings.config import Ids, SearchConfig

_Problem = tuple[str, str]

_LARGEST = float(np.finfo(np.float32).max)


def check_settings(config: SearchConfig) -> None:
    """Refuse what no search can honour.

    Raises:
        SettingError: one error that lists everything impossible.
    """
    problems = [*_wrong_values(config), *_contradictions(config)]
    if problems:
        causes, cures = zip(*problems, strict=True)
        raise SettingError("; ".join(causes), "; ".join(dict.fromkeys(cures)))


@dataclass(frozen=True)
class _Range:
    """What a number may be."""

    low: float
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.low if self.without_low else value >= self.low
        return above and (value < self.high if self.without_high else value <= self.high)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.without_low else f"at least {self.low:g}"
        if self.high == math.inf:
            return low
        return f"{low} and {'below' if self.without_high else 'at most'} {self.high:g}"


_NUMBERS = {
    "temperature": (_Range(0, without_low=True), "near 0 is greedy search: set do_sample to false"),
    "top_p": (_Range(0, 1, without_low=True), "1.0 keeps all tokens"),
    "min_p": (_Range(0, 1), "0 keeps all tokens"),
    "typical_p": (_Range(0, 1, without_low=True), "1.0 keeps all tokens"),
    "epsilon_cutoff": (_Range(0, 1, without_high=True), "0 keeps all tokens"),
    "eta_cutoff": (_Range(0, 1, without_high=True), "0 keeps all tokens"),
    "repetition_penalty": (_Range(0, without_low=True), "1.0 is no penalty"),
}
_COUNTS = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "max_new_tokens": 1,
    "max_length": 1,
    "min_new_tokens": 0,
    "min_length": 0,
    "top_k": 0,
    "no_repeat_ngram_size": 0,
}
_FLAGS = ("do_sample", "remove_invalid_values", "renormalize_logits", "output_scores")
#: Settings that are a list of token ids.
ID_LISTS = ("eos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens")


def named_ids(config: SearchConfig) -> dict[str, Ids]:
    """Every token id of a config, by the setting that names it."""
    bos, catalogue = config.forced_bos_token_id, config.catalogue
    return {
        **{name: getattr(config, name) for name in ID_LISTS},
        "pad_token_id": (config.pad_token_id,),
        "forced_bos_token_id": () if bos is None else (bos,),
        "sequence_bias": tuple(token for ids, _ in config.sequence_bias for token in ids),
        "bad_words_ids": tuple(token for ids in config.bad_words_ids for token in ids),
        "catalogue": (int(catalogue.tokens.max()),) if isinstance(catalogue, Catalogue) else (),
    }


def _wrong_values(config: SearchConfig) -> Iterable[_Problem]:
    """Cause and cure of each value that is impossible by itself."""
    for name, low in _COUNTS.items():
        value = getattr(config, name)
        if value is not None and (not _is_int(value) or not low <= value < 2**31):
            cause = f"{name} must be a whole number of at least {low}, not {value!r}"
            yield cause, f"set {name} to {low} or more"
    for name, (allowed, cure) in _NUMBERS.items():
        value = getattr(config, name)
        if not _is_finite(value) or not allowed.holds(value):
            yield f"{name} must be a number {allowed}, not {value!r}", cure
    if not _is_finite(config.length_penalty):
        cause = f"length_penalty must be a finite number, not {config.length_penalty!r}"
        yield cause, "1.0 divides scores by the length, 0.0 leaves them as they are"
    if not any(config.early_stopping is known for known in (True, False)) and (
        config.early_stopping != "never"
    ):
        cause = f'early_stopping must be False, True or "never", not {config.early_stopping!r}'
        yield cause, "False is HF's default"
    for name in _FLAGS:
        if not isinstance(getattr(config, name), bool):
            yield f"{name} must be True or False, not {getattr(config, name)!r}", "true is on"
    if config.seed is not None and (not _is_int(config.seed) or not 0 <= config.seed < 2**63):
        yield (
            f"seed must be a whole number from 0 to 2**63 - 1, not {config.seed!r}",
            "seed 0 will do",
        )
    yield from _wrong_sequences(config)
    decay: object = config.exponential_decay_length_penalty
    if decay is not None and not _is_decay(decay):
        cause = f"exponential_decay_length_penalty must be (start, factor), not {decay!r}"
        yield cause, "for example (20, 1.05): from token 20 on, by 1.05 a token"


def _wrong_sequences(config: SearchConfig) -> Iterable[_Problem]:
    """What is no token id, and what is no sequence of them."""
    for name, ids in named_ids(config).items():
        for token in ids:
            if not _is_int(token) or not 0 <= token < 2**31:
                cause = f"{name}: token ids must be whole numbers of at least 0, not {token!r}"
                yield cause, "use ids of the checkpoint's vocabulary"
    for name, sequences in (
        ("bad_words_ids", config.bad_words_ids),
        ("sequence_bias", [ids for ids, _ in config.sequence_bias]),
    ):
        if not all(sequences):
            yield f"{name} holds an empty sequence", "leave it out"
    for _, bias in config.sequence_bias:
        if not _is_finite(bias):
            cause = f"sequence_bias must be finite numbers, not {bias!r}"
            yield cause, "bad_words_ids bans sequences altogether"


def _contradictions(config: SearchConfig) -> Iterable[_Problem]:
    """Cause and cure of settings that cannot hold together."""
    beams, returned = config.num_beams, config.num_return_sequences
    if _is_int(beams) and _is_int(returned) and 1 <= beams < returned:
        cause = f"num_return_sequences ({returned}) is more than num_beams ({beams})"
        if beams > 1:
            yield cause, f"raise num_beams to {returned}, or ask for {beams} or fewer"
        elif not config.do_sample:
            yield cause, f"raise num_beams to {returned}, or set do_sample"
    longest, shortest = config.max_new_tokens, config.min_new_tokens
    if longest is not None and shortest is not None and shortest > longest:
        cause = f"min_new_tokens ({shortest}) is more than max_new_tokens ({longest})"
        yield cause, "lower the one or raise the other"
    for token in (*config.forced_eos_token_id, config.forced_bos_token_id):
        if token in config.suppress_tokens:
            yield f"suppress_tokens bans {token}, which is forced too", "take it out of one of them"
    catalogue: object = config.catalogue
    if isinstance(catalogue, Catalogue):
        yield from _against_catalogue(config, catalogue)
    elif catalogue is not None:
        cause = f"catalogue must be a Catalogue, not {catalogue!r:.60}"
        yield cause, "make one with Catalogue.of, or pass --catalogue FILE"


def _against_catalogue(config: SearchConfig, catalogue: Catalogue) -> Iterable[_Problem]:
    if not config.eos_token_id:
        yield "a catalogue entry ends with an EOS, and there is none", "set eos_token_id"
    inside = [token for token in config.eos_token_id if (catalogue.tokens == token).any()]
    if inside:
        cause = f"the catalogue holds the EOS id {inside[0]}"
        yield cause, "give entries without EOS ids; the search adds one"
    for name in ("forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values"):
        if getattr(config, name) not in (None, (), False):
            yield f"{name} may lead out of the catalogue", f"use a catalogue without {name}"


def check_penalty(config: SearchConfig, longest: int) -> None:
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


def _is_decay(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    return _is_int(value[0]) and _is_finite(value[1]) and min(value) > 0


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    """A number that float32, which the file computes in, can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    number: Any = value
    return bool(-_LARGEST <= number <= _LARGEST)
