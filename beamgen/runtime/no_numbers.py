"""A search that finds nothing, though nothing was forbidden: the model's scores are no numbers."""

from __future__ import annotations

from pathlib import Path

from beamgen.errors import PackageError
from beamgen.settings.config import SearchConfig
from beamgen.settings.table import BY_NAME

#: Settings that can forbid every token.
_BANNING = (
    "constraint",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    "sequence_bias",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "exponential_decay_length_penalty",
)


def bans(config: SearchConfig) -> bool:
    """Whether settings could leave a search without any token."""
    return any(not BY_NAME[name].is_off(getattr(config, name)) for name in _BANNING)


def no_numbers(folder: Path) -> PackageError:
    """The error of a search that found nothing, though nothing was forbidden."""
    return PackageError(
        f"the model in {folder} gave scores that are no numbers",
        "its weights, or those of the LoRA, are no finite numbers, or overflow: export it again, "
        "which tells what it can see of them by name",
    )
