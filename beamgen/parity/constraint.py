"""A constraint as Hugging Face ``generate`` is given it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from beamgen.settings.config import SearchConfig

if TYPE_CHECKING:
    import torch


def within_constraint(config: SearchConfig, prompt_len: int, vocab_size: int) -> dict[str, Any]:
    """What ``generate`` and ``_get_logits_processor`` are given besides the settings."""
    return {
        "prefix_allowed_tokens_fn": _allowed(config, prompt_len, vocab_size),
        "logits_processor": _one_end(config),
    }


def _allowed(
    config: SearchConfig, prompt_len: int, vocab_size: int
) -> Callable[..., list[int]] | None:
    """HF's ``prefix_allowed_tokens_fn``.

    HF wants a token even where a dead beam has left the constraint: any but an EOS, and all
    of those, so that bans leave it one.
    """
    constraint = config.constraint
    if constraint is None:
        return None
    eos = frozenset(config.eos_token_id)
    outside = [token for token in range(vocab_size) if token not in eos]

    def allowed(_: int, sequence: torch.Tensor) -> list[int]:
        tokens, ends = constraint.allowed(sequence[prompt_len:].tolist())
        # of states that take all tokens but some: an EOS among them is an end, and no text
        found = [*(token for token in tokens if token not in eos), *(eos if ends else ())]
        return found or outside

    return allowed


def _one_end(config: SearchConfig) -> list[Any]:
    """Of several EOS ids beams keep the likeliest, so that they hold a text once."""
    if config.constraint is None or config.num_beams == 1 or len(config.eos_token_id) < 2:
        return []
    ends = list(config.eos_token_id)

    def one_end(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        best, place = scores[:, ends].max(dim=-1)
        scores = scores.clone()
        scores[:, ends] = float("-inf")
        for row, kept in enumerate(place.tolist()):
            scores[row, ends[kept]] = best[row]
        return scores

    return [one_end]
