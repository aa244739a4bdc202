"""All settings, and what is derived from their rows."""

from __future__ import annotations

from beamgen.settings.parameter import Parameter
from beamgen.settings.processors import (
    bad_words_ids,
    begin_suppress_tokens,
    catalogue,
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
    sequence_bias,
    suppress_tokens,
    temperature,
    top_k,
    top_p,
    typical_p,
)
from beamgen.settings.search import SEARCH_SETTINGS
from beamgen.settings.setting import WHEN_SAMPLING, Setting

#: Logits processors in HF's order; ``one_end`` where HF has those that a caller gives it.
#: Source: ``GenerationMixin._get_logits_processor``.
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
        catalogue,
        forced_bos_token_id,
        forced_eos_token_id,
        remove_invalid_values,
        exponential_decay_length_penalty,
        suppress_tokens,
        begin_suppress_tokens,
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

#: The graph's inputs besides the prompts.
PARAMETERS: tuple[Parameter, ...] = tuple(
    parameter for setting in SETTINGS for parameter in setting.parameters
)

#: Names of the settings of which each row of a batch may have its own.
PER_ROW = frozenset(setting.name for setting in SETTINGS if setting.per_row)

#: Names of the settings that HF heeds with ``do_sample`` only.
SAMPLING = tuple(setting.name for setting in SETTINGS if setting.heeded == WHEN_SAMPLING)
