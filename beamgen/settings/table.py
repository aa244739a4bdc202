"""All settings, and what is derived from their rows."""

from __future__ import annotations

from collections.abc import Collection

from beamgen.settings.parameter import Parameter
from beamgen.settings.processors import (
    bad_words_ids,
    begin_suppress_tokens,
    constraint,
    encoder_no_repeat_ngram_size,
    encoder_repetition_penalty,
    epsilon_cutoff,
    eta_cutoff,
    exponential_decay_length_penalty,
    forced_bos_token_id,
    forced_eos_token_id,
    min_new_tokens,
    min_p,
    no_repeat_ngram_size,
    one_end,
    remove_invalid_values,
    renormalize_logits,
    repetition_penalty,
    return_timestamps,
    sequence_bias,
    suppress_tokens,
    temperature,
    top_k,
    top_p,
    typical_p,
)
from beamgen.settings.search import SEARCH_SETTINGS
from beamgen.settings.setting import IDS, WHEN_SAMPLING, Setting

#: Logits processors in HF's order; ``return_timestamps`` and ``one_end`` where HF has those
#: that a caller gives it.
#: Source: ``GenerationMixin._get_logits_processor``, ``_retrieve_logit_processors`` of a class
#: that transcribes.
PROCESSORS = tuple(
    module.PROCESSOR
    for module in (
        sequence_bias,
        encoder_repetition_penalty,
        repetition_penalty,
        no_repeat_ngram_size,
        encoder_no_repeat_ngram_size,
        bad_words_ids,
        min_new_tokens,
        constraint,
        forced_bos_token_id,
        forced_eos_token_id,
        remove_invalid_values,
        exponential_decay_length_penalty,
        suppress_tokens,
        begin_suppress_tokens,
        return_timestamps,
        one_end,
        temperature,
        top_k,
        top_p,
        min_p,
        typical_p,
        epsilon_cutoff,
        eta_cutoff,
        renormalize_logits,
    )
)

#: Every setting, in the order of the graph's inputs.
SETTINGS: tuple[Setting, ...] = (
    *SEARCH_SETTINGS,
    *(setting for processor in PROCESSORS for setting in processor.settings),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


def parameters_with(has: Collection[str]) -> tuple[Parameter, ...]:
    """A graph's inputs besides the prompts, where it has some of what settings ask for."""
    return tuple(
        parameter
        for setting in SETTINGS
        if setting.asks is None or setting.asks in has
        for parameter in setting.parameters
    )


#: The inputs of a decoder's graph besides the prompts.
PARAMETERS = parameters_with({IDS})

#: Names of the settings of which each row of a batch may have its own.
PER_ROW = frozenset(setting.name for setting in SETTINGS if setting.per_row)

#: Names of the settings that HF heeds with ``do_sample`` only.
SAMPLING = tuple(setting.name for setting in SETTINGS if setting.heeded == WHEN_SAMPLING)
