"""Which of transformers' attentions computes what a model was trained with.

``eager`` is the model's own code. Its default, ``sdpa``, is one function for all models, and
forgets what it has no argument for: GPT-2's scales by layer, Gemma 2's soft caps. Where an
architecture's own code is at fault, its adapter says so (``DecoderAdapter.attention``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import meant_attention

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_TOKENS = 16
#: Of how far logits lie apart. Rounding alone makes a tenth of it at most.
_TOLERANCE = 1e-4
_MARK = "beamgen_default_differs"


def follow_meant(model: PreTrainedModel) -> None:
    """Let a loaded model attend as it was trained, where its default gives other logits.

    Both are asked, with the model's weights and config, for the logits of a few tokens.
    """
    default, meant = model.config._attn_implementation, meant_attention(model.config.model_type)
    if default == meant:
        return
    theirs = _logits(model)
    model.set_attn_implementation(meant)
    own = _logits(model)
    spread = float((own - own.mean(dim=-1, keepdim=True)).abs().max())
    if float((own - theirs).abs().max()) > _TOLERANCE * spread:
        setattr(model, _MARK, default)
    else:
        model.set_attn_implementation(default)


def forgetful_default(model: PreTrainedModel) -> str | None:
    """HF's default attention, where the model follows another instead of it."""
    return getattr(model, _MARK, None)


def _logits(model: PreTrainedModel) -> torch.Tensor:
    """The logits ``[1, T, V]`` of tokens from all over the vocabulary."""
    import torch

    config = model.config.get_text_config()
    length = min(_TOKENS, getattr(config, "max_position_embeddings", _TOKENS))
    dice = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (1, length), generator=dice)
    given = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = ids
    with torch.no_grad():
        logits: torch.Tensor = model(**given, use_cache=False).logits
    return logits
