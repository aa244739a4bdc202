"""What the nodes of ONNX Runtime's operators are given: attributes and inputs, from settings.

Source: the schemas of ``com.microsoft`` (``onnxruntime/core/graph/contrib_ops``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.errors import SettingError
from beamgen.settings.checks import check_penalty
from beamgen.settings.config import ResolvedSearch, SearchConfig
from beamgen.settings.contrib import BEAM_SEARCH, MAX_LENGTH, SAMPLING, operator_of, parameters
from beamgen.settings.prompts import Ids


def attributes(config: SearchConfig, vocab_size: int) -> dict[str, int | float]:
    """The node's attributes.

    What it fills with is the EOS id, whatever the checkpoint's pad id is: a hypothesis
    never holds one, so its end can be told from a pad id that was generated. Without
    an EOS an id beyond the vocabulary stands for it.
    """
    operator = operator_of(config)
    eos = config.eos_token_id[0] if config.eos_token_id else vocab_size
    values: dict[str, int | float] = {
        "model_type": 0,
        "eos_token_id": eos,
        "pad_token_id": eos if config.eos_token_id else config.pad_token_id,
        "no_repeat_ngram_size": config.no_repeat_ngram_size,
    }
    if operator == BEAM_SEARCH:
        values["early_stopping"] = int(config.early_stopping is True)
    if operator == SAMPLING:
        values["temperature"] = float(config.temperature)
        values["top_p"] = float(config.top_p)
    return values


def inputs(config: ResolvedSearch, prompt_len: int, vocab_size: int) -> dict[str, npt.NDArray[Any]]:
    """The operator's inputs besides the prompts, see ``parameters``.

    Args:
        config: settings that it honours, for this prompt length.
        prompt_len: S, the padded prompt, which the operator's lengths count.
        vocab_size: V.
    """
    always, at_first = np.ones(vocab_size, np.int32), np.ones((1, vocab_size), np.int32)
    # HF leaves an EOS among the bad words alone
    bad = [ids[0] for ids in config.bad_words_ids if ids[0] not in config.eos_token_id]
    always[[*config.suppress_tokens, *bad]] = 0
    at_first[0, list(config.begin_suppress_tokens)] = 0
    shortest = config.min_new_tokens if config.eos_token_id else 0
    values: dict[str, Any] = {
        "max_length": prompt_len + config.max_new_tokens,
        "min_length": prompt_len + shortest if shortest else 0,
        "num_beams": config.num_beams,
        "num_return_sequences": config.num_return_sequences,
        "length_penalty": config.length_penalty,
        "repetition_penalty": config.repetition_penalty,
        "vocab_mask": always,
        "prefix_vocab_mask": at_first,
        "seed": config.seed or 0,
    }
    return {
        parameter.name: np.atleast_1d(np.asarray(values[parameter.name], parameter.dtype))
        for parameter in parameters(operator_of(config), vocab_size)
    }


def without_default(config: SearchConfig) -> frozenset[str]:
    """Inputs that have to be fed: what counts the prompt has no default to give."""
    counted = bool(config.min_new_tokens or config.min_length)
    return frozenset({"max_length", "min_length"} if counted else {"max_length"})


def feeds(
    input_ids: Ids, attention_mask: Ids, config: ResolvedSearch, vocab_size: int
) -> dict[str, npt.NDArray[Any]]:
    """What a file is fed.

    Args:
        input_ids: int64 ``[B, S]``.
        attention_mask: int64 ``[B, S]``.
        config: settings that its operator honours, for this prompt length.
        vocab_size: V.

    Raises:
        SettingError: the lengths are beyond the operator, or every token is banned.
    """
    prompt_len = input_ids.shape[1]
    total = prompt_len + config.max_new_tokens
    check_penalty(config.num_beams, config.length_penalty, total)
    if total > MAX_LENGTH:
        raise SettingError(
            f"ONNX Runtime's {operator_of(config)} stops at {MAX_LENGTH} tokens; {prompt_len} of "
            f"the prompt + {config.max_new_tokens} new ones are {total}",
            "lower max_new_tokens, or export with --search loop",
        )
    values = inputs(config, prompt_len, vocab_size)
    if operator_of(config) == SAMPLING and not _may_come_first(config, values, prompt_len).any():
        raise nothing_left("every token is banned")
    return {
        "input_ids": input_ids.astype(np.int32),
        "attention_mask": attention_mask.astype(np.int32),
        **values,
    }


def _may_come_first(
    config: SearchConfig, values: dict[str, npt.NDArray[Any]], prompt_len: int
) -> npt.NDArray[np.bool_]:
    """Which ids the masks leave for the first token, bool ``[V]``."""
    allowed: npt.NDArray[np.bool_] = (values["vocab_mask"] * values["prefix_vocab_mask"][0]).astype(
        bool
    )
    if values["min_length"][0] > prompt_len:
        allowed[list(config.eos_token_id)] = False
    return allowed


def nothing_left(why: str) -> SettingError:
    """What to say where ``Sampling`` has no token to draw."""
    return SettingError(
        f"ONNX Runtime's Sampling cannot go on: {why}",
        "ban fewer tokens (no_repeat_ngram_size bans too), or export with --search loop",
    )
