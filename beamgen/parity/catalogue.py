"""A catalogue as Hugging Face ``generate`` is given it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from beamgen.settings.config import SearchConfig

if TYPE_CHECKING:
    import torch


def within_catalogue(config: SearchConfig, prompt_len: int, vocab_size: int) -> dict[str, Any]:
    """What ``generate`` and ``_get_logits_processor`` are given besides the settings."""
    return {
        "prefix_allowed_tokens_fn": _allowed(config, prompt_len, vocab_size),
        "logits_processor": _one_end(config),
    }


def _allowed(
    config: SearchConfig, prompt_len: int, vocab_size: int
) -> Callable[..., list[int]] | None:
    """HF's ``prefix_allowed_tokens_fn``.

    HF wants a token even where a dead beam has left the catalogue: any but an EOS, and all
    of those, so that bans leave it one.
    """
    catalogue = config.catalogue
    if catalogue is None:
        return None
    outside = [token for token in range(vocab_size) if token not in config.eos_token_id]

    def allowed(_: int, sequence: torch.Tensor) -> list[int]:
        tokens, ends = catalogue.allowed(sequence[prompt_len:].tolist())
        found = [*tokens, *(config.eos_token_id if ends else ())]
        return found or outside

    return allowed


def _one_end(config: SearchConfig) -> list[Any]:
    """Of several EOS ids beams keep the likeliest, so that they hold an entry once."""
    if config.catalogue is None or config.num_beams == 1 or len(config.eos_token_id) < 2:
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
