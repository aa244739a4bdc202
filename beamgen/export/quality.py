"""What rounding costs, measured on the decoder that goes into the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.checkpoint import Checkpoint
from beamgen.errors import AdapterError
from beamgen.export.texts import Texts
from beamgen.parity.positions import takes_positions
from beamgen.quantization.record import Precision, Quality
from beamgen.seq2seq_adapter import Seq2SeqAdapter, Source

if TYPE_CHECKING:
    from beamgen.export.teacher_forcing import TeacherForcing

Floats = npt.NDArray[np.float64]
Logits = npt.NDArray[np.float32]
#: What an encoder reads, by HF's names.
Encoded = Mapping[str, npt.NDArray[Any]]

#: Rows that stand for the neighbours of a search, and how many of them are tried.
_TOGETHER, _ROWS, _RANDOM_LENGTH = 4, 32, 24
#: Longer rows, and what an encoder reads, have as many tokens as the longest of parity's cases: one
#: that falls to another side of a border moves all behind it, and in a few short texts none may.
_LONG, _LONG_ROWS = 100, 8
#: About what float arithmetic moves a number, in steps of its rounding.
_MOVED = 2e-4
#: So many times what rounding itself does is no noise of it.
_IMPLAUSIBLE = 3
#: Candidates of a place whose log-probabilities are compared.
_LIKELIEST = 5


@dataclass(frozen=True)
class _Row:
    """Ids that a decoder is led through, and what an encoder reads before, if there is one."""

    ids: Sequence[int]
    source: Encoded = field(default_factory=dict)  # each [source, ...]


def measured(
    precision: Precision,
    checkpoint: Checkpoint,
    adapter: DecoderAdapter,
    decoder: TeacherForcing,
    texts: Texts | None,
) -> Precision:
    """Add to a precision what it costs: ``quality``, and ``noise`` where activations are rounded.

    Args:
        precision: what ``decoder.quantize`` said.
        checkpoint: what the decoder was made of, with a LoRA that was merged.
        adapter: the architecture's.
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
        of_texts = () if texts is None else _longest(_rows(texts))
        rows = [*of_texts, *_random_rows(checkpoint, adapter)]
        precision = replace(precision, noise=_noise(precision, checkpoint, decoder, rows))
    return precision


def _quality(checkpoint: Checkpoint, decoder: TeacherForcing, texts: Texts) -> Quality:
    """Perplexity and agreement with HF, of each text in one step."""
    plain = _hf_logits(checkpoint.load_merged())
    losses, same = np.zeros(2), 0
    for row in _rows(texts):
        ids, source = _together([row])
        both = [plain(ids, source), decoder.logits(ids, source=source)]
        losses += [-_next_log_probs(logits, ids).sum() for logits in both]
        theirs, ours = (logits[0, :-1].argmax(axis=-1) for logits in both)
        same += int((theirs == ours).sum())
    fp32, ours = np.exp(losses / texts.predicted)
    return Quality(
        text=texts.named,
        tokens=texts.predicted,
        perplexity_fp32=float(fp32),
        perplexity=float(ours),
        top1_agreement=same / texts.predicted,
    )


def _noise(
    precision: Precision, checkpoint: Checkpoint, decoder: TeacherForcing, rows: Iterable[_Row]
) -> float:
    """How far a summed log-probability may be from HF's, divided by the root of its tokens.

    The decoder goes through several rows at once, a half as prompt and the rest token by
    token, as a search does. HF, with the same rounding, goes through the same rows at
    once, and through each alone, as parity re-scores; and once more with what is rounded
    moved by a little, because what lies at a border may fall to the same side in the few rows
    that are tried, and not in those that a search has. The largest difference is what is
    returned.
    """
    from beamgen.quantization.emulate import Border, emulate

    border = Border()
    model = emulate(checkpoint.load_merged(), precision, border)
    hf, plain = _hf_logits(model), _hf_logits(checkpoint.load_merged())
    noise = falls = rounding = 0.0
    ordered = sorted((row for row in rows if len(row.ids) > 3), key=lambda row: len(row.ids))
    for start in range(0, len(ordered), _TOGETHER):
        group = ordered[start : start + _TOGETHER]
        ids, source = _together(group)
        prompt_len = ids.shape[1] // 2
        alone = [_together([row], ids.shape[1]) for row in group]
        ours, at_once, each, unrounded = (
            logits[:, prompt_len - 1 :]
            for logits in (
                decoder.logits(ids, prompt_len, source),
                hf(ids, source),
                np.concatenate([hf(*row) for row in alone]),
                plain(ids, source),
            )
        )
        border.moved = _MOVED
        moved = hf(ids, source)[:, prompt_len - 1 :]
        border.moved = 0.0
        continued = ids[:, prompt_len - 1 :]
        noise = max(noise, _drift(ours, at_once, continued), _drift(ours, each, continued))
        falls = max(falls, _drift(moved, at_once, continued))
        rounding = max(rounding, _drift(unrounded, each, continued))
    if noise > _IMPLAUSIBLE * rounding:
        raise AdapterError(
            f"the {precision.name} decoder is {noise:.1e} from HF with the same rounding, which "
            f"is {rounding:.1e} from fp32: it computes something else",
            "export in fp32, and report it",
        )
    return max(noise, falls)


def _drift(ours: Logits, theirs: Logits, ids: npt.NDArray[np.int64]) -> float:
    """The largest difference: of sums along the rows, or of a place's likeliest candidates."""
    sums = (_next_log_probs(ours, ids) - _next_log_probs(theirs, ids)).cumsum(axis=1)
    likely = np.argsort(-theirs, axis=-1)[..., :_LIKELIEST]
    single = np.take_along_axis(_log_probs(ours) - _log_probs(theirs), likely, axis=-1)
    tokens = np.arange(1, sums.shape[1] + 1)
    return float(max(np.abs(sums / np.sqrt(tokens)).max(), np.abs(single).max()))


def _rows(texts: Texts) -> list[_Row]:
    if not texts.sources:
        return [_Row(ids) for ids in texts.rows]
    return [
        _Row(ids, {"input_ids": np.array(read), "attention_mask": np.ones(len(read), np.int64)})
        for ids, read in zip(texts.rows, texts.sources, strict=True)
    ]


def _longest(rows: Iterable[_Row]) -> list[_Row]:
    """The longest of the texts."""
    return sorted(rows, key=lambda row: len(row.ids))[-_ROWS:]


def _random_rows(checkpoint: Checkpoint, adapter: DecoderAdapter) -> list[_Row]:
    """Rows of random ids, as the prompts of parity's grids are."""
    rng = np.random.default_rng(0)
    positions = adapter.position_limits(checkpoint.config).room(0)
    if not isinstance(adapter, Seq2SeqAdapter):
        drawn = [
            rng.integers(0, checkpoint.vocab_size, (rows, min(length, positions))).tolist()
            for rows, length in ((_ROWS, _RANDOM_LENGTH), (_LONG_ROWS, _LONG))
        ]
        return [_Row(ids) for rows in drawn for ids in rows]
    longest = min(_LONG, adapter.source_positions(checkpoint.config) or _LONG)
    sources = adapter.sources(checkpoint.config)
    # behind a padding token HF counts positions otherwise when it goes token by token
    ids = np.setdiff1d(np.arange(checkpoint.vocab_size), [checkpoint.config.pad_token_id])

    def read(source: Source) -> npt.NDArray[Any]:
        sizes = [longest if isinstance(axis, str) else axis for axis in source.axes[1:]]
        if not source.integer:
            return rng.normal(size=sizes).astype(np.float32)
        return rng.choice(ids, sizes) if source.name == "input_ids" else np.ones(sizes, np.int64)

    def row() -> _Row:
        drawn = rng.choice(ids, min(_RANDOM_LENGTH, positions))
        return _Row(drawn.tolist(), {each.name: read(each) for each in sources})

    # of sources of one great size, such as half a minute of sound, fewer have as many borders
    fixed = [axis for each in sources for axis in each.axes if isinstance(axis, int)]
    size = max([longest, *fixed])
    return [row() for _ in range(max(_TOGETHER, min(_ROWS, _ROWS * _LONG // size)))]


def _together(
    rows: Sequence[_Row], length: int | None = None
) -> tuple[npt.NDArray[np.int64], Encoded]:
    """Rows as one batch: ids cut to the shortest, or to ``length``, and sources filled up."""
    length = min(len(row.ids) for row in rows) if length is None else length
    ids = np.array([row.ids[:length] for row in rows])
    source = {}
    for name in rows[0].source:
        each = [row.source[name] for row in rows]
        longest = max(len(one) for one in each)  # what is masked decides nothing
        filled = [
            np.pad(one, [(0, longest - len(one)), *[(0, 0)] * (one.ndim - 1)]) for one in each
        ]
        source[name] = np.stack(filled)
    return ids, source


def _hf_logits(model: Any) -> Callable[[npt.NDArray[np.int64], Encoded], Logits]:
    """A function that gives an HF model's logits ``[B, N, V]`` of ids ``[B, N]``."""
    import torch

    positioned = takes_positions(model)

    def logits(ids: npt.NDArray[np.int64], source: Encoded) -> Logits:
        given = {name: torch.from_numpy(array) for name, array in source.items()}
        if positioned:  # as generate does: a model's own may begin elsewhere
            given["position_ids"] = torch.arange(ids.shape[1]).expand(*ids.shape)
        given["decoder_input_ids" if source else "input_ids"] = torch.from_numpy(ids)
        with torch.no_grad():
            found: Logits = model(**given).logits.float().numpy()
        return found

    return logits


def _log_probs(logits: Logits) -> Floats:
    values = logits.astype(np.float64)
    values -= values.max(axis=-1, keepdims=True)
    found: Floats = values - np.log(np.exp(values).sum(axis=-1, keepdims=True))
    return found


def _next_log_probs(logits: Logits, ids: npt.NDArray[np.int64]) -> Floats:
    """Log-probabilities ``[B, N-1]`` of each token after the first."""
    found: Floats = np.take_along_axis(_log_probs(logits[:, :-1]), ids[:, 1:, None], axis=-1)
    return found[..., 0]
