"""What rounding costs, measured on the decoder that goes into the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import AdapterError
from beamgen.export.texts import Texts
from beamgen.quantization.record import Precision, Quality

if TYPE_CHECKING:
    from beamgen.export.teacher_forcing import TeacherForcing

Rows = Sequence[Sequence[int]]
Floats = npt.NDArray[np.float64]

#: Rows that stand for the neighbours of a search, and how many of them are tried.
_TOGETHER, _ROWS, _RANDOM_LENGTH = 4, 32, 24
#: So many times what rounding itself does is no noise of it.
_IMPLAUSIBLE = 3
#: Candidates of a place whose log-probabilities are compared.
_LIKELIEST = 5


def measured(
    precision: Precision, checkpoint: Checkpoint, decoder: TeacherForcing, texts: Texts | None
) -> Precision:
    """Add to a precision what it costs: ``quality``, and ``noise`` where activations are rounded.

    Args:
        precision: what ``decoder.quantize`` said.
        checkpoint: what the decoder was made of, with a LoRA that was merged.
        decoder: the rounded one.
        texts: None leaves the quality unmeasured.

    Raises:
        AdapterError: the decoder computes something else than its rounding says.
        CheckpointError, LoraError, MissingExtraError: see ``Checkpoint.load_merged``.
    """
    if texts is not None:
        precision = replace(precision, quality=_quality(checkpoint, decoder, texts))
    else:
        precision = replace(precision, quality=Quality())
    if precision.activations is not None:
        rows = [*(_longest(texts.rows) if texts is not None else ()), *_random_rows(checkpoint)]
        precision = replace(precision, noise=_noise(precision, checkpoint, decoder, rows))
    return precision


def _quality(checkpoint: Checkpoint, decoder: TeacherForcing, texts: Texts) -> Quality:
    """Perplexity and agreement with HF, of each text in one step."""
    plain = _hf_logits(checkpoint.load_merged())
    losses, same = np.zeros(2), 0
    for row in texts.rows:
        ids = np.array([row])
        both = [plain(ids), decoder.logits(ids)]
        losses += [-_next_log_probs(logits, ids).sum() for logits in both]
        theirs, ours = (logits[0, :-1].argmax(axis=-1) for logits in both)
        same += int((theirs == ours).sum())
    fp32, ours = np.exp(losses / texts.predicted)
    return Quality(
        text=texts.source,
        tokens=texts.predicted,
        perplexity_fp32=float(fp32),
        perplexity=float(ours),
        top1_agreement=same / texts.predicted,
    )


def _noise(
    precision: Precision, checkpoint: Checkpoint, decoder: TeacherForcing, rows: Rows
) -> float:
    """How far a summed log-probability may be from HF's, divided by the root of its tokens.

    The decoder goes through several rows at once, a half as prompt and the rest token by
    token, as a search does. HF, with the same rounding, goes through the same rows at
    once, and through each alone, as parity re-scores. The largest difference is what
    is returned.
    """
    from beamgen.quantization.emulate import emulate

    model = emulate(checkpoint.load_merged(), precision)
    hf, plain = _hf_logits(model), _hf_logits(checkpoint.load_merged())
    noise = rounding = 0.0
    ordered = sorted((row for row in rows if len(row) > 3), key=len)
    for start in range(0, len(ordered), _TOGETHER):
        group = ordered[start : start + _TOGETHER]
        length = min(len(row) for row in group)
        ids, prompt_len = np.array([row[:length] for row in group]), length // 2
        at_once, each = hf(ids), np.concatenate([hf(row[None]) for row in ids])
        ours, at_once, each = (
            logits[:, prompt_len - 1 :]
            for logits in (decoder.logits(ids, prompt_len), at_once, each)
        )
        continued = ids[:, prompt_len - 1 :]
        noise = max(noise, _drift(ours, at_once, continued), _drift(ours, each, continued))
        rounding = max(rounding, _drift(plain(ids)[:, prompt_len - 1 :], each, continued))
    if noise > _IMPLAUSIBLE * rounding:
        raise AdapterError(
            f"the {precision.name} decoder is {noise:.1e} from HF with the same rounding, which "
            f"is {rounding:.1e} from fp32: it computes something else",
            "export in fp32, and report it",
        )
    return noise


def _drift(
    ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]
) -> float:
    """The largest difference: of sums along the rows, or of a place's likeliest candidates."""
    sums = (_next_log_probs(ours, ids) - _next_log_probs(theirs, ids)).cumsum(axis=1)
    likely = np.argsort(-theirs, axis=-1)[..., :_LIKELIEST]
    single = np.take_along_axis(_log_probs(ours) - _log_probs(theirs), likely, axis=-1)
    tokens = np.arange(1, sums.shape[1] + 1)
    return float(max(np.abs(sums / np.sqrt(tokens)).max(), np.abs(single).max()))


def _longest(rows: Rows) -> Rows:
    """The longest of the texts."""
    return sorted(rows, key=len)[-_ROWS:]


def _random_rows(checkpoint: Checkpoint) -> Rows:
    """Rows of random ids, as the prompts of parity's grids are."""
    length = min(_RANDOM_LENGTH, getattr(checkpoint.config, "max_position_embeddings", 8))
    drawn = np.random.default_rng(0).integers(0, checkpoint.vocab_size, (_ROWS, length))
    rows: Rows = drawn.tolist()
    return rows


def _hf_logits(model: Any) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]:
    """A function that gives an HF model's logits ``[B, N, V]`` of ids ``[B, N]``."""
    import torch

    def logits(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            found: npt.NDArray[np.float32] = model(torch.from_numpy(ids)).logits.float().numpy()
        return found

    return logits


def _log_probs(logits: npt.NDArray[np.float32]) -> Floats:
    values = logits.astype(np.float64)
    values -= values.max(axis=-1, keepdims=True)
    found: Floats = values - np.log(np.exp(values).sum(axis=-1, keepdims=True))
    return found


def _next_log_probs(logits: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]) -> Floats:
    """Log-probabilities ``[B, N-1]`` of each token after the first."""
    found: Floats = np.take_along_axis(_log_probs(logits[:, :-1]), ids[:, 1:, None], axis=-1)
    return found[..., 0]
