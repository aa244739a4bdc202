"""What a search gives, whichever graph ran it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beamgen.settings.prompts import Ids

#: What the graph's ``finish_reasons`` mean. ``none``: the search found fewer
#: hypotheses than were asked for.
FINISH_REASONS = ("none", "eos", "length", "stop")

#: What each output holds, in one line for tables and viewers.
OUTPUT_MEANINGS = {
    "sequences": "prompt + generated ids, padded as HF pads",
    "sequences_scores": "HF's sequences_scores; with one beam the summed log-probability",
    "finish_reasons": "1 EOS, 2 length, 3 stop string, 0 nothing more was found",
    "beam_indices": "HF's beam_indices; empty unless output_scores is 1",
    "token_log_probs": "HF's compute_transition_scores; empty unless output_scores is 1",
}

#: Summed scores below carry the -1e9 with which a search marks what may not come.
DEAD = -5e8


@dataclass(frozen=True)
class BeamOutput:
    """What the graph gives.

    Attributes:
        sequences: int64 ``[B, R, T]``, prompt + generated, padded as HF pads.
        sequences_scores: float32 ``[B, R]``.
        finish_reasons: int64 ``[B, R]``, indices of ``FINISH_REASONS``.
        beam_indices: int64 ``[B, R, G]``, where each token's beam stood, counted over
            the whole batch, -1 after the end; G is 0 unless ``output_scores``.
        token_log_probs: float32 ``[B, R, G]``, 0 after the end.
    """

    sequences: Ids
    sequences_scores: npt.NDArray[np.float32]
    finish_reasons: Ids
    beam_indices: Ids
    token_log_probs: npt.NDArray[np.float32]
