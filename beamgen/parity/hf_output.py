"""What HF ``generate`` returns, in the form of the graph's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.settings.config import SearchConfig
from beamgen.settings.result import DEAD, BeamOutput

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def hf_beam_output(
    model: PreTrainedModel, output: Any, batch: int, prompt_len: int, config: SearchConfig
) -> BeamOutput:
    """HF's answer in the graph's shapes and with its scores.

    Greedy search and sampling have no ``sequences_scores`` in HF; the graph's are the sum of
    HF's ``compute_transition_scores`` with normalised logits.

    Args:
        model: that searched.
        output: a ``GenerateOutput`` with its scores.
        batch: B.
        prompt_len: S.
        config: the settings of the search.
    """
    import torch

    sequences = output.sequences.reshape(batch, config.num_return_sequences, -1)
    shape = sequences.shape[:2]
    generated = sequences[:, :, prompt_len:]
    one_beam = config.num_beams == 1
    log_probs = model.compute_transition_scores(
        output.sequences,
        output.scores,
        None if one_beam else output.beam_indices,
        normalize_logits=one_beam,
    ).reshape(*shape, -1)
    if one_beam:
        is_eos = torch.isin(generated, torch.tensor(config.eos_token_id, dtype=torch.long))
        ended = is_eos.cumsum(dim=2) - is_eos.long() > 0
        log_probs = log_probs.masked_fill(ended, 0.0)
        scores = log_probs.sum(dim=2)
        chain = torch.arange(shape[0] * shape[1]).reshape(*shape, 1)
        beam_indices = chain.expand(generated.shape).masked_fill(ended, -1)
    else:
        scores = output.sequences_scores.reshape(shape)
        beam_indices = output.beam_indices.reshape(*shape, -1)
    reasons = _finish_reasons(generated, scores, beam_indices, config)
    if not config.output_scores:
        beam_indices, log_probs = beam_indices[..., :0], log_probs[..., :0]
    found = (sequences, scores, reasons, beam_indices, log_probs)
    return BeamOutput(*(value.numpy() for value in found))


def _finish_reasons(
    generated: torch.Tensor, scores: torch.Tensor, beam_indices: torch.Tensor, config: SearchConfig
) -> torch.Tensor:
    """How each sequence ended, as the graph's ``finish_reasons [B, R]`` say it."""
    if not generated.shape[2]:  # nothing was found at all
        return generated.new_zeros(generated.shape[:2])
    lengths = (beam_indices >= 0).sum(dim=2)
    penalty = config.length_penalty if config.num_beams > 1 else 0.0
    summed = scores.double() * lengths.clamp(min=1).double() ** penalty
    last = generated.gather(2, (lengths - 1).clamp(min=0)[:, :, None])[:, :, 0]
    ended = (last[:, :, None] == last.new_tensor(config.eos_token_id)).any(dim=2)
    return last.new_tensor(2).where(~ended, 1).where((summed > DEAD) & (lengths > 0), 0)
