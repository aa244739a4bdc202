"""What a contrib file takes and gives, and its run in the form of the loop backend.

Source: the schemas of ``com.microsoft`` (``onnxruntime/core/graph/contrib_ops``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamgen.beam_output import DEAD, BeamOutput
from beamgen.contrib_op import BEAM_SEARCH, MAX_LENGTH, SAMPLING, check_fits, op_type, parameters
from beamgen.errors import SettingError, one_line
from beamgen.prompts import Ids
from beamgen.search_config import SearchConfig
from beamgen.setting_checks import check_penalty

if TYPE_CHECKING:
    import onnxruntime

    from beamgen.manifest import Manifest


def run(
    session: onnxruntime.InferenceSession,
    manifest: Manifest,
    input_ids: Ids,
    attention_mask: Ids,
    configs: Sequence[SearchConfig],
    lora: Mapping[str, npt.NDArray[Any]],
) -> BeamOutput:
    """Run a package's operator, and give what the loop backend would.

    Args:
        session: of the package's graph.
        manifest: the package's.
        input_ids: int64 ``[B, S]``.
        attention_mask: int64 ``[B, S]``.
        configs: for this prompt length; one for all rows, or one for each.
        lora: what the slots are fed.

    Raises:
        SettingError: the operator cannot honour it, or not in this package; or every
            token is banned.
    """
    config = configs[0]
    if any(other != config for other in configs):
        raise one_for_all_rows()
    check_fits(config, manifest.search)
    given = {**feeds(input_ids, attention_mask, config, manifest.vocab_size), **lora}
    if manifest.operator == SAMPLING:
        sequences, scores = _drawn(session, given, config), None
    else:
        sequences, *rest = session.run(None, given)
        scores = rest[0] if rest else None
    return output(sequences, scores, input_ids.shape[1], config)


def one_for_all_rows() -> SettingError:
    """What to say of values per row."""
    return SettingError(
        "ONNX Runtime's operators take one setting for all rows of a batch",
        "search those prompts in batches of their own, or export with --search loop",
    )


def _drawn(
    session: onnxruntime.InferenceSession,
    given: dict[str, npt.NDArray[Any]],
    config: SearchConfig,
) -> npt.NDArray[np.int32]:
    """What ``Sampling`` draws; refused where every token was banned on the way.

    Its bans are lowest numbers: among them alone it draws any, or an id beyond the
    vocabulary, on which the next step fails.
    """
    mask, prompt_len = given["vocab_mask"], given["input_ids"].shape[1]
    try:
        (sequences,) = session.run(None, given)
    except Exception as error:  # ONNX Runtime raises types of its own
        raise _nothing_left(one_line(error)) from error
    drawn = sequences[:, prompt_len:]
    drawn = drawn[~np.isin(drawn, config.eos_token_id)]
    if (drawn >= len(mask)).any() or not mask[drawn].all():
        raise _nothing_left("it drew a banned token")
    return sequences  # type: ignore[no-any-return] # onnxruntime is untyped


def _nothing_left(why: str) -> SettingError:
    return SettingError(
        f"ONNX Runtime's Sampling cannot go on: {why}",
        "ban fewer tokens (no_repeat_ngram_size bans too), or export with --search loop",
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
    input_ids: Ids, attention_mask: Ids, config: SearchConfig, vocab_size: int
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
    total = prompt_len + (config.max_new_tokens or 0)
    check_penalty(config, total)
    if total > MAX_LENGTH:
        raise SettingError(
            f"ONNX Runtime's {op_type(config)} stops at {MAX_LENGTH} tokens; {prompt_len} of the "
            f"prompt + {config.max_new_tokens} new ones are {total}",
            "lower max_new_tokens, or export with --search loop",
        )
    values = inputs(config, prompt_len, vocab_size)
    if op_type(config) == SAMPLING and not _may_come_first(config, values, prompt_len).any():
        raise _nothing_left("every token is banned")
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
    filled = np.where(place < length[:, :, None], generated, config.fill_token_id)[
        :, :, : length.max()
    ]
    shape = found.shape[:2]
    if scores is None:
        scores = np.full(shape, np.nan, np.float32)
    spoken = prompt_len + length - finished  # as the operator counts
    with np.errstate(over="ignore", invalid="ignore"):
        dead = scores * spoken.astype(np.float64) ** config.length_penalty < DEAD
    return BeamOutput(
        sequences=np.concatenate([found[:, :, :prompt_len], filled[:, :, : length.max()]], axis=2),
        # a copy: ONNX Runtime's array would keep its session's memory
        sequences_scores=scores.copy(),
        finish_reasons=np.where(dead, 0, np.where(finished, 1, 2)),
        beam_indices=np.zeros((*shape, 0), np.int64),
        token_log_probs=np.zeros((*shape, 0), np.float32),
    )
