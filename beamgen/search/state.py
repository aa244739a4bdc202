"""What a search carries from step to step, as graph values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import onnx_ir as ir

from beamgen.settings.rules import Rules
from beamgen.tape import Results

#: The parameters and what is derived from them, by name.
Settings = Mapping[str, ir.Value]


@dataclass(frozen=True)
class Prompt:
    """The prompts, as graph values, and how they are divided."""

    input_ids: ir.Value  # int64 [B, S]
    attention_mask: ir.Value  # int64 [B, S]
    length: ir.Value  # int64 [B, 1], without padding
    pieces: ir.Value  # int64 scalar, their number
    piece_len: ir.Value  # int64 [1]


@dataclass(frozen=True)
class State:
    """What the search carries from step to step, as graph values.

    The log-probabilities and beam indices of a sequence are ``[B, K, 0]`` unless
    they were asked for.
    """

    running_tokens: ir.Value  # int64 [B, K, t]
    running_log_probs: ir.Value  # float [B, K, t or 0], of each token
    running_beam_indices: ir.Value  # int64 [B, K, t or 0]
    running_scores: ir.Value  # float [B, K], summed log-probability
    finished_tokens: ir.Value  # int64 [B, K, t]
    finished_log_probs: ir.Value  # float [B, K, t or 0]
    finished_beam_indices: ir.Value  # int64 [B, K, t or 0]
    finished_scores: ir.Value  # float [B, K], length-penalised
    finished_lengths: ir.Value  # int64 [B, K]
    is_sent_finished: ir.Value  # bool [B, K]
    unsatisfied: ir.Value  # bool [B, 1], HF's is_early_stop_heuristic_unsatisfied
    node: ir.Value  # int64 [B, K], where in the constraint
    stop_node: ir.Value  # int64 [B, K], where in the automaton of stop strings

    @classmethod
    def of(cls, results: Results) -> State:
        """The state that is among what a search step or a loop gives."""
        return cls(**{field.name: getattr(results, field.name) for field in fields(cls)})


#: Element type and rank of each part.
STATE_TYPES = {
    "running_tokens": (ir.DataType.INT64, 3),
    "running_log_probs": (ir.DataType.FLOAT, 3),
    "running_beam_indices": (ir.DataType.INT64, 3),
    "running_scores": (ir.DataType.FLOAT, 2),
    "finished_tokens": (ir.DataType.INT64, 3),
    "finished_log_probs": (ir.DataType.FLOAT, 3),
    "finished_beam_indices": (ir.DataType.INT64, 3),
    "finished_scores": (ir.DataType.FLOAT, 2),
    "finished_lengths": (ir.DataType.INT64, 2),
    "is_sent_finished": (ir.DataType.BOOL, 2),
    "unsatisfied": (ir.DataType.BOOL, 2),
    "node": (ir.DataType.INT64, 2),
    "stop_node": (ir.DataType.INT64, 2),
}


@dataclass(frozen=True)
class Step:
    """What every part of a step reads."""

    prompt: Prompt
    state: State
    settings: Settings
    rules: Rules
    generated_len: ir.Value  # int64 [1], before the token to come
    cur_len: ir.Value  # int64 [1], with it
