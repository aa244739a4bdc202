"""ONNX Runtime's ``BeamSearch``, ``GreedySearch`` and ``Sampling``, seen from outside.

What they honour, what they take and what they give back. A contrib package holds one
of them: several beams are ``BeamSearch``, one beam is ``GreedySearch``, or
``Sampling`` where tokens are drawn.

Source: ``onnxruntime/contrib_ops/cpu/transformers`` and the schemas of
``com.microsoft`` (``onnxruntime/core/graph/contrib_ops``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from beamgen.beam_output import BeamOutput
from beamgen.errors import SettingError
from beamgen.parameters import Parameter
from beamgen.prompts import Ids
from beamgen.search_config import SearchConfig
from beamgen.setting_checks import check_penalty

DOMAIN = "com.microsoft"
BEAM_SEARCH, GREEDY_SEARCH, SAMPLING = "BeamSearch", "GreedySearch", "Sampling"

#: ``kMaxSequenceLength`` and ``kMaxNumBeams`` of beam_search_parameters.cc.
MAX_LENGTH, MAX_BEAMS = 4096, 128

#: Bits of ``Sampling``'s seed.
SEED_BITS = 31

#: Summed scores below are those of tokens that may not come.
_DEAD = -5e8

#: Settings that are attributes of the node: they are fixed when it is exported.
FIXED = {
    BEAM_SEARCH: ("eos_token_id", "early_stopping", "no_repeat_ngram_size"),
    GREEDY_SEARCH: ("eos_token_id", "no_repeat_ngram_size"),
    SAMPLING: ("eos_token_id", "no_repeat_ngram_size", "temperature", "top_p"),
}

_MODES = {
    BEAM_SEARCH: "num_beams above 1",
    GREEDY_SEARCH: "num_beams 1 without do_sample",
    SAMPLING: "num_beams 1 with do_sample",
}
_NEVER_HONOURED = (
    "sequence_bias",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "renormalize_logits",
    "output_scores",
    "catalogue",
)
_LEAST_TOP_P, _LEAST_TEMPERATURE = 1e-6, 1e-30
_WARPERS = ("min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_DEFAULTS = {field.name: field.default for field in fields(SearchConfig)}


def op_type(config: SearchConfig) -> str:
    """The operator that searches as these settings say."""
    if config.num_beams > 1:
        return BEAM_SEARCH
    return SAMPLING if config.do_sample else GREEDY_SEARCH


def parameters(op: str, vocab_size: int) -> tuple[Parameter, ...]:
    """The operator's inputs besides the prompts, in its order."""
    one, mask = ("1",), str(vocab_size)
    beams = (
        Parameter("num_beams", "int32", one, "beams per row, at least 2"),
        Parameter("num_return_sequences", "int32", one, "hypotheses returned, at most num_beams"),
        Parameter(
            "length_penalty",
            "float32",
            one,
            "scores are divided by (prompt + generated length) ** length_penalty",
        ),
    )
    return (
        Parameter("max_length", "int32", one, "prompt with its padding + generated tokens at most"),
        Parameter("min_length", "int32", one, "no EOS before prompt + generated tokens reach it"),
        *(beams if op == BEAM_SEARCH else ()),
        Parameter("repetition_penalty", "float32", one, "above 1 makes ids seen before unlikely"),
        Parameter("vocab_mask", "int32", (mask,), "0 bans an id"),
        Parameter("prefix_vocab_mask", "int32", ("rows", mask), "0 bans an id as first token"),
        *(() if op != SAMPLING else (Parameter("seed", "int32", one, "of all rows' draws"),)),
    )


def check_honoured(config: SearchConfig) -> None:
    """Refuse what the operator cannot do.

    Raises:
        SettingError: one error that lists everything, and names the loop backend.
    """
    problems = list(_unhonoured(config))
    if problems:
        causes, cures = zip(*problems, strict=True)
        raise SettingError(
            f"ONNX Runtime's {op_type(config)} cannot honour {'; '.join(causes)}",
            f"{'; '.join(dict.fromkeys(cures))}; or export with --search loop",
        )


def _unhonoured(config: SearchConfig) -> Iterator[tuple[str, str]]:
    """Each setting that the operator cannot do, and what to do about it."""
    absent = [*_NEVER_HONOURED, *(_WARPERS if op_type(config) == SAMPLING else ())]
    for name in absent:
        if (getattr(config, name) or None) != (_DEFAULTS[name] or None):
            yield f"{name}: there is no input for it", f"--set {name}=default turns it off"
    eos = config.eos_token_id
    if len(eos) > 1:
        cause = f"{len(eos)} ids as eos_token_id ({', '.join(map(str, eos))}): it knows one"
        yield cause, f"pick one: --eos-token-id {eos[0]}"
    if any(len(ids) > 1 for ids in config.bad_words_ids):
        cause = "bad_words_ids of several tokens: it masks single ones"
        yield cause, "give bad_words_ids of one token each"
    if max(config.max_length or 0, 1 + (config.max_new_tokens or 0)) > MAX_LENGTH:
        yield f"sequences of more than {MAX_LENGTH} tokens", "lower max_new_tokens or max_length"
    if config.num_beams > 1:
        yield from _unhonoured_by_beams(config)
    elif config.do_sample:
        yield from _unhonoured_by_sampling(config)


def _unhonoured_by_beams(config: SearchConfig) -> Iterator[tuple[str, str]]:
    if config.do_sample:
        yield "do_sample with several beams", "set --no-sample, or --num-beams 1"
    if config.early_stopping == "never":
        yield 'early_stopping "never"', "set --early-stopping false or true"
    if config.num_beams > MAX_BEAMS:
        yield f"{config.num_beams} beams", f"set --num-beams {MAX_BEAMS} or less"


def _unhonoured_by_sampling(config: SearchConfig) -> Iterator[tuple[str, str]]:
    if config.top_k:
        cause = f"top_k {config.top_k} (50 is HF's default)"
        yield cause, "--top-k 0 draws among all tokens"
    if config.num_return_sequences > 1:
        cause = "num_return_sequences: it draws one sequence per row"
        yield cause, "repeat the prompt instead"
    if config.seed is not None and config.seed >= 2**SEED_BITS:
        yield f"seed {config.seed}", f"give a seed below {2**SEED_BITS}"
    if config.top_p < _LEAST_TOP_P:  # 1 - top_p is 1 in float32: it would keep all tokens
        yield f"top_p {config.top_p:g}", f"set top_p to {_LEAST_TOP_P:g} or more, or --no-sample"
    if config.temperature < _LEAST_TEMPERATURE:
        cure = f"set temperature to {_LEAST_TEMPERATURE:g} or more, or --no-sample"
        yield f"temperature {config.temperature:g}", cure


def check_fits(config: SearchConfig, exported: SearchConfig) -> None:
    """Hold a request to what was fixed when the package was exported.

    Raises:
        SettingError: it asks for another operator, or another attribute.
    """
    check_operator(config, op_type(exported))
    for name in FIXED[op_type(exported)]:
        if getattr(config, name) != getattr(exported, name):
            raise SettingError(
                f"{name} is an attribute of {op_type(exported)}, fixed at "
                f"{getattr(exported, name)!r} in this package; {getattr(config, name)!r} was asked",
                "export once more with this setting, or with --search loop, where it is an input",
            )


def check_operator(config: SearchConfig, op: str) -> None:
    """Refuse settings that this operator is not for.

    Raises:
        SettingError: another operator is, or none.
    """
    check_honoured(config)
    wanted = op_type(config)
    if wanted != op:
        raise SettingError(
            f"this package holds {op}, which is for {_MODES[op]}; {_MODES[wanted]} takes {wanted}",
            "export once more with these settings, or with --search loop, which does all of them",
        )


def attributes(config: SearchConfig, vocab_size: int) -> dict[str, int | float]:
    """The node's attributes.

    What it fills with is the EOS id, whatever the checkpoint's pad id is: a hypothesis
    never holds one, so its end can be told from a pad id that was generated. Without
    an EOS an id beyond the vocabulary stands for it.
    """
    op = op_type(config)
    eos = config.eos_token_id[0] if config.eos_token_id else vocab_size
    values: dict[str, int | float] = {
        "model_type": 0,
        "eos_token_id": eos,
        "pad_token_id": eos if config.eos_token_id else config.pad_token_id,
        "no_repeat_ngram_size": config.no_repeat_ngram_size,
    }
    if op == BEAM_SEARCH:
        values["early_stopping"] = int(config.early_stopping is True)
    if op == SAMPLING:
        values["temperature"] = float(config.temperature)
        values["top_p"] = float(config.top_p)
    return values


def inputs(config: SearchConfig, prompt_len: int, vocab_size: int) -> dict[str, npt.NDArray[Any]]:
    """The operator's inputs besides the prompts, see ``parameters``.

    Args:
        config: settings that it honours.
        prompt_len: S, the padded prompt, which the operator's lengths count.
        vocab_size: V.
    """
    config = config.for_prompt(prompt_len)
    always, at_first = np.ones(vocab_size, np.int32), np.ones((1, vocab_size), np.int32)
    # HF leaves an EOS among the bad words alone
    bad = [ids[0] for ids in config.bad_words_ids if ids[0] not in config.eos_token_id]
    always[[*config.suppress_tokens, *bad]] = 0
    at_first[0, list(config.begin_suppress_tokens)] = 0
    shortest = config.min_new_tokens if config.eos_token_id else 0
    values: dict[str, Any] = {
        "max_length": prompt_len + (config.max_new_tokens or 0),
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
        for parameter in parameters(op_type(config), vocab_size)
    }


def without_default(config: SearchConfig) -> frozenset[str]:
    """Inputs that have to be fed: what counts the prompt has no default to give."""
    counted = bool(config.min_new_tokens or config.min_length)
    return frozenset({"max_length", "min_length"} if counted else {"max_length"})


def feeds(
    input_ids: Ids,
    attention_mask: Ids,
    configs: Sequence[SearchConfig],
    exported: SearchConfig,
    vocab_size: int,
) -> dict[str, npt.NDArray[Any]]:
    """What the file is fed.

    Args:
        input_ids: int64 ``[B, S]``.
        attention_mask: int64 ``[B, S]``.
        configs: one for all rows, or one for each.
        exported: the package's own settings.
        vocab_size: V.

    Raises:
        SettingError: the operator cannot honour it, or not in this package; or every
            token is banned.
    """
    config, prompt_len = configs[0], input_ids.shape[1]
    if any(other != config for other in configs):
        raise one_for_all_rows()
    check_fits(config, exported)
    total = prompt_len + (config.max_new_tokens or 0)
    check_penalty(config, total)
    if total > MAX_LENGTH:
        raise SettingError(
            f"ONNX Runtime's {op_type(config)} stops at {MAX_LENGTH} tokens; {prompt_len} of the "
            f"prompt + {config.max_new_tokens} new ones are {total}",
            "lower max_new_tokens, or export with --search loop",
        )
    values = inputs(config, prompt_len, vocab_size)
    _check_something_is_left(config, values, prompt_len)
    return {
        "input_ids": input_ids.astype(np.int32),
        "attention_mask": attention_mask.astype(np.int32),
        **values,
    }


def one_for_all_rows() -> SettingError:
    """What to say of values per row."""
    return SettingError(
        "ONNX Runtime's operators take one setting for all rows of a batch",
        "search those prompts in batches of their own, or export with --search loop",
    )


def _check_something_is_left(
    config: SearchConfig, values: dict[str, npt.NDArray[Any]], prompt_len: int
) -> None:
    """Hold ``Sampling`` to masks that leave something for the first token."""
    always = values["vocab_mask"].copy()
    if values["min_length"][0] > prompt_len:
        always[list(config.eos_token_id)] = 0
    if op_type(config) == SAMPLING and not (always * values["prefix_vocab_mask"]).any():
        raise nothing_left("every token is banned")


def check_drawn(
    sequences: npt.NDArray[np.int32], given: dict[str, npt.NDArray[Any]], config: SearchConfig
) -> None:
    """Refuse what ``Sampling`` draws where every token is banned on the way.

    Its bans are lowest numbers: among them alone it draws any, or an id beyond them.

    Raises:
        SettingError: a banned id was drawn, or one outside the vocabulary.
    """
    mask = given["vocab_mask"]
    drawn = sequences[:, given["input_ids"].shape[1] :]
    drawn = drawn[~np.isin(drawn, config.eos_token_id)]
    if (drawn >= len(mask)).any() or not mask[drawn].all():
        raise nothing_left("it drew a banned token")


def nothing_left(why: str) -> SettingError:
    """What to say where an operator has nothing to choose from."""
    return SettingError(
        f"ONNX Runtime's operator cannot go on: {why}",
        "ban fewer tokens (no_repeat_ngram_size bans too), or export with --search loop",
    )


def output(
    sequences: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32] | None,
    prompt_len: int,
    config: SearchConfig,
) -> BeamOutput:
    """What the file gives, in the form of the loop backend.

    Args:
        sequences: ``[B, R, max_length]``, or ``[B, max_length]`` of one beam; without
            EOS, filled with it.
        scores: ``[B, R]``; None of one beam, which becomes not-a-number.
        prompt_len: S.
        config: the settings of the search, for one prompt length.
    """
    found = sequences.astype(np.int64).reshape(len(sequences), -1, sequences.shape[-1])
    generated = found[:, :, prompt_len:]  # [B, R, max_new_tokens]
    ends = np.isin(generated, config.eos_token_id)
    finished = ends.any(axis=2)
    length = np.where(finished, ends.argmax(axis=2) + 1, generated.shape[2])  # EOS counted
    place = np.arange(generated.shape[2])
    filled = np.where(place < length[:, :, None], generated, _fill(config))[:, :, : length.max()]
    shape = found.shape[:2]
    if scores is None:
        scores = np.full(shape, np.nan, np.float32)
    spoken = prompt_len + length - finished  # as the operator counts
    with np.errstate(over="ignore", invalid="ignore"):
        dead = scores * spoken.astype(np.float64) ** config.length_penalty < _DEAD
    return BeamOutput(
        sequences=np.concatenate([found[:, :, :prompt_len], filled], axis=2),
        # a copy: ONNX Runtime's array would keep its session's memory
        sequences_scores=scores.copy(),
        finish_reasons=np.where(dead, 0, np.where(finished, 1, 2)),
        beam_indices=np.zeros((*shape, 0), np.int64),
        token_log_probs=np.zeros((*shape, 0), np.float32),
    )


def _fill(config: SearchConfig) -> int:
    """Beam search takes pad id 0 for unset, as HF does."""
    if config.num_beams > 1 and config.pad_token_id == 0 and config.eos_token_id:
        return config.eos_token_id[0]
    return config.pad_token_id
