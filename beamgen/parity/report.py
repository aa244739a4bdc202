"""Cases that a parity check compares, and the verdicts on them."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np

from beamgen.settings.config import SearchConfig
from beamgen.settings.prompts import Ids, left_pad
from beamgen.settings.result import BeamOutput
from beamgen.settings.sources import AnySource, FeatureBatch, right_pad

Prompts = tuple[tuple[int, ...], ...]

# Both are relative to the size of a score where that is above 1: a negative
# length penalty multiplies scores by thousands.
#: Scores nearer than this are the same score.
SCORE_TOLERANCE = 2e-4
#: Candidates whose HF scores are nearer than this are a tie that float32 decides.
NEAR_TIE_MARGIN = 1e-4


_ALWAYS_SHOWN = ("num_beams", "length_penalty", "early_stopping", "eos_token_id")
_OF_EVERY_CASE = ("num_return_sequences", "max_new_tokens", "max_length", "output_scores", "seed")


class Verdict(StrEnum):
    """How a comparison may end, from best to worst."""

    EXACT = "exact"
    #: What ONNX Runtime's operator has to give by its own rule, which is not HF's.
    CONTRIB_RULE = "contrib rule"
    NEAR_TIE = "near-tie"
    #: HF found no hypothesis at all, though nothing forbids any: there was nothing to agree on.
    EMPTY = "nothing compared"
    DIVERGED = "diverged"

    @property
    def agrees(self) -> bool:
        """Whether a check with this verdict passes."""
        return self not in (Verdict.DIVERGED, Verdict.EMPTY)


@dataclass(frozen=True)
class ParityCase:
    """Prompts and settings with which both sides search.

    Attributes:
        name: what kind of prompts these are.
        prompts: token ids per row; of an encoder-decoder the decoder's.
        prompt_len: S, to which the prompts are padded on the left.
        config: every setting.
        sources: token ids per row that an encoder reads, if there is one that reads ids.
        source_len: to which they are padded on the right.
        features: what an encoder reads that reads no ids.
    """

    name: str
    prompts: Prompts
    prompt_len: int
    config: SearchConfig
    sources: Prompts = ()
    source_len: int = 0
    features: FeatureBatch | None = field(default=None, compare=False)

    @property
    def title(self) -> str:
        """Name and settings in one line."""
        config = self.config
        listed = [f"{name} {getattr(config, name)}" for name in (*_ALWAYS_SHOWN, *self.further)]
        return ", ".join([self.name, *listed])

    @property
    def further(self) -> list[str]:
        """Settings that are on, besides those that every case shows."""
        names = (field.name for field in fields(SearchConfig) if field.default is not MISSING)
        plain = SearchConfig(self.config.eos_token_id, self.config.pad_token_id)
        return [
            name
            for name in names
            if name not in _ALWAYS_SHOWN + _OF_EVERY_CASE
            and getattr(self.config, name) not in (None, (), getattr(plain, name))
        ]

    def batch(self) -> tuple[Ids, Ids]:
        """input_ids and attention_mask, int64 ``[B, S]``."""
        return left_pad(self.prompts, self.config.pad_token_id, self.prompt_len)

    def source(self) -> AnySource | None:
        """What an encoder reads, if there is one."""
        if self.features is not None:
            return self.features
        if not self.sources:
            return None
        return right_pad(self.sources, self.config.pad_token_id, self.source_len)


@dataclass(frozen=True)
class Parting:
    """The step at which two searches part, and what each kept there.

    Attributes:
        verdict: near-tie or diverged.
        row: of the batch.
        step: generated token at which they part, counted from 1.
        reason: what differs there.
        ours: a continuation the file kept and HF did not, or [].
        reference: a continuation HF kept and the file did not, or [].
        our_score: what the file says of ``ours``.
        reference_score: what HF says of ``reference``.
        margin: HF's score of ``reference`` less HF's score of ``ours``.
    """

    verdict: Verdict
    row: int
    step: int
    reason: str
    ours: list[int] = field(default_factory=list)
    reference: list[int] = field(default_factory=list)
    our_score: float | None = None
    reference_score: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class CaseResult:
    """The verdict on one case.

    Attributes:
        case: what was compared.
        verdict: the worst of its rows'.
        score_difference: the largest difference of returned scores (absolute).
        partings: one for each row that is a near-tie or diverged.
        same_tokens: whether all returned tokens are HF's.
        anything: whether HF found a hypothesis at all.
    """

    case: ParityCase
    verdict: Verdict
    score_difference: float
    partings: list[Parting]
    same_tokens: bool = False
    anything: bool = True


@dataclass(frozen=True)
class ParityReport:
    """The verdicts on a grid of cases.

    Attributes:
        results: of each case.
        forgetful_default: transformers' default attention, where it gives other logits than
            ``attention``, which was compared with instead; or None.
    """

    results: list[CaseResult]
    forgetful_default: str | None = None

    @property
    def attention(self) -> str | None:
        """What was compared with instead of ``forgetful_default``, the other of the two."""
        others = {"sdpa": "eager", "eager": "sdpa"}
        return others[self.forgetful_default] if self.forgetful_default else None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all cases; none is exact where HF found nothing in any."""
        worst = max((r.verdict for r in self.results), key=list(Verdict).index)
        if worst is not Verdict.DIVERGED and not any(r.anything for r in self.results):
            return Verdict.EMPTY
        return worst

    @property
    def exit_code(self) -> int:
        """The command's exit code: 3 for diverged or nothing compared, 0 for anything better."""
        return 0 if self.verdict.agrees else 3

    def count(self, verdict: Verdict) -> int:
        """How many cases have this verdict."""
        return sum(result.verdict is verdict for result in self.results)

    @property
    def same_tokens(self) -> int:
        """How many cases returned HF's tokens, whatever their scores."""
        return sum(result.same_tokens for result in self.results)

    @property
    def score_difference(self) -> float:
        """The largest over all cases that are exact, or by the operator's rule."""
        agreed = (Verdict.EXACT, Verdict.CONTRIB_RULE)
        found = (r.score_difference for r in self.results if r.verdict in agreed)
        return max(found, default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Counts and every parting, for ``beamgen.json`` and ``--json``."""
        import transformers

        return {
            "verdict": self.verdict,
            "transformers": transformers.__version__,
            "cases": len(self.results),
            **{verdict.value: self.count(verdict) for verdict in Verdict},
            "same_tokens": self.same_tokens,
            "max_score_difference": self.score_difference,
            **({"attention": self.attention} if self.attention else {}),
            "partings": [
                {"case": result.case.title, **_finite(vars(parting))}
                for result in self.results
                for parting in result.partings
            ],
        }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Values without infinities, which JSON has none of: a banned EOS scores -inf."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def near(a: float, b: float, tolerance: float) -> bool:
    """Whether two scores agree, relative to their size where that is above 1."""
    return abs(a - b) <= tolerance * max(1.0, abs(b))


def same_row(
    expected: BeamOutput,
    found: BeamOutput,
    row: int,
    slack: tuple[np.ndarray, float] | None = None,
    *,
    padding: bool = True,
) -> bool:
    """Whether a row's tokens, scores, finish reasons and what was asked for per token are the same.

    Where HF found fewer hypotheses than it returns, those it found are compared:
    what fills the other places is arbitrary, and so is its length. ``slack`` is allowed on
    top of the tolerance: for scores ``[B, R]``, and for each token's. Without ``padding`` the rows
    may be filled to other lengths, as they are where another row of the batch ends elsewhere.
    """
    theirs, ours = (
        {name: values[row] for name, values in vars(output).items()} for output in (expected, found)
    )
    if not np.array_equal(theirs["finish_reasons"], ours["finish_reasons"]):
        return False
    live = theirs["finish_reasons"] > 0
    # one row's fill may make all rows longer
    other_shape = expected.sequences.shape != found.sequences.shape
    if padding and other_shape and expected.finish_reasons.all():
        return False
    allowed: dict[str, Any] = {}
    if slack is not None:
        scores, token = slack
        allowed = {"sequences_scores": scores[row][live], "token_log_probs": token}
    return all(
        _same_values(theirs[name][live], ours[name][live], allowed.get(name, 0.0))
        for name in theirs
    )


def same_tokens(expected: BeamOutput, found: BeamOutput) -> bool:
    """Whether the returned sequences are equal, padding included."""
    return np.array_equal(expected.sequences, found.sequences)


def _same_values(theirs: np.ndarray, ours: np.ndarray, slack: Any) -> bool:
    if theirs.ndim == 2:
        width = min(theirs.shape[1], ours.shape[1])
        theirs, ours = theirs[:, :width], ours[:, :width]
    if theirs.dtype.kind != "f":
        return np.array_equal(theirs, ours)
    with np.errstate(invalid="ignore"):  # equal infinities differ by what is no number
        tolerance = np.maximum(slack, SCORE_TOLERANCE * np.maximum(1.0, np.abs(theirs)))
        same = (theirs == ours) | (np.abs(theirs - ours) <= tolerance)
        return bool((same | (np.isnan(theirs) & np.isnan(ours))).all())
