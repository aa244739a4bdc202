"""A contrib file is run in the form of the loop backend: the same inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamgen.errors import BeamgenError, SettingError, one_line
from beamgen.runtime.no_numbers import no_numbers
from beamgen.runtime.session import run
from beamgen.settings.config import ResolvedSearch
from beamgen.settings.contrib import NO_NUMBERS, SAMPLING, check_fits
from beamgen.settings.contrib_inputs import feeds, nothing_left
from beamgen.settings.prompts import Ids
from beamgen.settings.result import DEAD, BeamOutput

if TYPE_CHECKING:
    import onnxruntime

    from beamgen.package.folder import Package


def run_contrib(
    session: onnxruntime.InferenceSession,
    package: Package,
    input_ids: Ids,
    attention_mask: Ids,
    configs: Sequence[ResolvedSearch],
    lora: Mapping[str, npt.NDArray[Any]],
) -> BeamOutput:
    """Run a package's operator, and give what the loop backend would.

    Args:
        session: of the package's graph.
        package: what is run.
        input_ids: int64 ``[B, S]``.
        attention_mask: int64 ``[B, S]``.
        configs: for this prompt length; one for all rows, or one for each.
        lora: what the slots are fed.

    Raises:
        SettingError: the operator cannot honour it, or not in this package; or every
            token is banned.
        PackageError: the model's scores are no numbers.
    """
    config, manifest = configs[0], package.manifest
    if any(other != config for other in configs):
        raise one_for_all_rows()
    check_fits(config, manifest.search)
    given = {**feeds(input_ids, attention_mask, config, manifest.vocab_size), **lora}
    try:
        if manifest.operator == SAMPLING:
            sequences, scores = _drawn(session, given, config), None
        else:
            sequences, *rest = run(session, None, given)
            scores = rest[0] if rest else None
    except Exception as error:  # ONNX Runtime raises types of its own
        if NO_NUMBERS in str(error):
            raise no_numbers(package.folder) from error
        raise
    return beam_output(sequences, scores, input_ids.shape[1], config)


def one_for_all_rows() -> SettingError:
    """The error of settings that differ by row."""
    return SettingError(
        "ONNX Runtime's operators take one setting for all rows of a batch",
        "search those prompts in batches of their own, or export with --search loop",
    )


def _drawn(
    session: onnxruntime.InferenceSession,
    given: dict[str, npt.NDArray[Any]],
    config: ResolvedSearch,
) -> npt.NDArray[np.int32]:
    """What ``Sampling`` draws; refused where every token was banned on the way.

    Its bans are lowest numbers: among them alone it draws any, or an id beyond the
    vocabulary, on which the next step fails.
    """
    mask, prompt_len = given["vocab_mask"], given["input_ids"].shape[1]
    try:
        (sequences,) = run(session, None, given)
    except BeamgenError:
        raise
    except Exception as error:  # ONNX Runtime raises types of its own
        if NO_NUMBERS in str(error):
            raise
        raise nothing_left(one_line(error)) from error
    drawn = sequences[:, prompt_len:]
    drawn = drawn[~np.isin(drawn, config.eos_token_id)]
    if (drawn >= len(mask)).any() or not mask[drawn].all():
        raise nothing_left("it drew a banned token")
    return sequences  # type: ignore[no-any-return] # onnxruntime is untyped


def beam_output(
    sequences: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32] | None,
    prompt_len: int,
    config: ResolvedSearch,
) -> BeamOutput:
    """What the operator gives, in the form of the loop backend.

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
    counted = prompt_len + length - finished  # the operator counts the prompt, and no EOS
    with np.errstate(over="ignore", invalid="ignore"):
        dead = scores * counted.astype(np.float64) ** config.length_penalty < DEAD
    return BeamOutput(
        sequences=np.concatenate([found[:, :, :prompt_len], filled[:, :, : length.max()]], axis=2),
        # a copy: ONNX Runtime's array would keep its session's memory
        sequences_scores=scores.copy(),
        finish_reasons=np.where(dead, 0, np.where(finished, 1, 2)),
        beam_indices=np.zeros((*shape, 0), np.int64),
        token_log_probs=np.zeros((*shape, 0), np.float32),
    )
