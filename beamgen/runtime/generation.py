"""A hypothesis as text and token ids, made of what the graph gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from beamgen.runtime.segments import Segment, segments_of
from beamgen.settings.config import SearchConfig
from beamgen.settings.result import FINISH_REASONS, BeamOutput
from beamgen.tokenizer.added_text import text_added
from beamgen.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Generation:
    """A hypothesis that a search returned.

    Attributes:
        text: prompt and continuation, decoded without special tokens, as
            ``tokenizer.decode(sequence, skip_special_tokens=True)`` gives it;
            None where the package has no tokenizer, or one that does not load.
        new_text: the continuation alone.
        token_ids: the generated ids, the EOS that ended them included.
        prompt_ids: the prompt's ids, without padding.
        score: HF's ``sequences_scores``: summed log-probability divided by
            ``len(token_ids) ** length_penalty``; with one beam the sum alone. A
            contrib package divides by the prompt's tokens and the generated ones
            before the EOS, and gives not-a-number with one beam.
        finish_reason: ``eos``, ``stop`` (one of ``stop_strings`` has come) or ``length``.
            Within a constraint ``eos`` says that the continuation is a whole text of it.
        token_log_probs: of each generated id, HF's ``compute_transition_scores``;
            None unless ``output_scores`` was set.
        beam_indices: on which beam each generated id stood, counted over the whole
            batch as HF's are; None unless ``output_scores`` was set.
        segments: what was said when; None unless ``return_timestamps`` was set.
    """

    text: str | None
    new_text: str | None
    token_ids: list[int]
    prompt_ids: list[int]
    score: float
    finish_reason: str
    token_log_probs: list[float] | None = None
    beam_indices: list[int] | None = None
    segments: tuple[Segment, ...] | None = None


def found_hypotheses(output: BeamOutput, row: int) -> list[BeamOutput]:
    """The part of a batch's output that belongs to each hypothesis found for one prompt."""
    found = np.flatnonzero(output.finish_reasons[row])
    return [BeamOutput(*(values[row, i] for values in vars(output).values())) for i in found]


def generation_of(
    found: BeamOutput,
    prompt: list[int],
    prompt_len: int,
    config: SearchConfig,
    tokenizer: Tokenizer | None,
) -> Generation:
    """One hypothesis ``[T]``, without its padding, and decoded where there is a tokenizer.

    Args:
        found: of ``found_hypotheses``.
        prompt: its ids, without padding.
        prompt_len: S, to which it was padded.
        config: the settings of its search.
        tokenizer: the package's.
    """
    reason = FINISH_REASONS[found.finish_reasons]
    ids = found.sequences[prompt_len:].tolist()[: config.max_new_tokens]
    if reason == "eos":
        ids = ids[: 1 + next(i for i, token in enumerate(ids) if token in config.eos_token_id)]
    if reason == "stop" and config.stop_strings is not None:
        # as in the graph, padding is text before the prompt
        ids = ids[: config.stop_strings.end(found.sequences[:prompt_len].tolist(), ids)]
    text = new_text = None
    if tokenizer is not None:
        text = tokenizer.decode([*prompt, *ids], skip_special_tokens=True)
        new_text = text_added(tokenizer, prompt, ids)
    asked = config.output_scores
    segments = None
    if config.return_timestamps and config.no_timestamps_token_id is not None:
        segments = segments_of(ids, config.no_timestamps_token_id + 1, tokenizer)
    return Generation(
        text,
        new_text,
        ids,
        prompt,
        float(found.sequences_scores),
        reason,
        found.token_log_probs.tolist()[: len(ids)] if asked else None,
        found.beam_indices.tolist()[: len(ids)] if asked else None,
        segments,
    )


def from_first_beam(generation: Generation, first: int) -> Generation:
    """A hypothesis of a batch with its beams counted from its own row's first, not from 0."""
    if generation.beam_indices is None or not first:
        return generation
    return replace(generation, beam_indices=[beam - first for beam in generation.beam_indices])
