"""Which of transformers' attentions computes what a model was trained with, and whether it does.

``eager`` is the model's own code. Its default, ``sdpa``, is one function for all models, and
forgets what it has no argument for: GPT-2's scales by layer, Gemma 2's soft caps. Where an
architecture's own code is at fault, its adapter says so (``DecoderAdapter.attention``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.checkpoint.example_inputs import example_inputs
from beamgen.errors import CheckpointError
from beamgen.registry import adapter_or_default

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_TOKENS = 16
#: Of how far logits lie apart. Rounding alone makes a tenth of it at most.
_TOLERANCE = 1e-4
#: Of how far logits lie apart, too: a model that reads both ways is far beyond it.
_ALIKE = 1e-2
_LARGE = 1e30
_MARK = "beamgen_default_differs"


def follow_meant(model: PreTrainedModel) -> torch.Tensor:
    """Let a loaded model attend as it was trained, where its default gives other logits.

    Both are asked, with the model's weights and config, for the logits of a few tokens.

    Returns:
        Logits ``[2, T, V]`` of two texts that begin alike and part in the middle.
    """
    default = model.config._attn_implementation
    meant = adapter_or_default(model.config.model_type).attention
    theirs = _logits(model)
    if default == meant:
        return theirs
    model.set_attn_implementation(meant)
    own = _logits(model)
    spread = float((own - own.mean(dim=-1, keepdim=True)).abs().max())
    if float((own - theirs).abs().max()) > _TOLERANCE * spread:
        setattr(model, _MARK, default)
    else:
        model.set_attn_implementation(default)
    return own


def check_decodes(logits: torch.Tensor, source: str) -> None:
    """Refuse a model whose logits are none of a decoder's.

    Args:
        logits: what ``follow_meant`` gives.
        source: the checkpoint, for messages.

    Raises:
        CheckpointError: they are no numbers, or those of a token depend on later tokens.
    """
    if logits.isnan().any() or logits.isposinf().any():
        raise CheckpointError(
            f"{source} gives logits that are no numbers, though all its weights are finite",
            "its training failed, or a value in config.json is wrong: use an earlier checkpoint",
        )
    first, second = logits[:, : logits.shape[1] // 2].clamp(min=-_LARGE)
    spread = (first - first.mean(dim=-1, keepdim=True)).abs().max() if len(first) else 0.0
    if ((first - second).abs() > _ALIKE * spread).any():
        raise CheckpointError(
            f"in {source} later tokens change the logits of earlier ones: as config.json stands, "
            "it is no decoder, but a model that reads both ways",
            'where it was trained as a decoder, put what says so into config.json ("is_decoder": '
            "true)",
        )


def forgetful_default(model: PreTrainedModel) -> str | None:
    """HF's default attention, where the model follows another instead of it."""
    return getattr(model, _MARK, None)


def _logits(model: PreTrainedModel) -> torch.Tensor:
    """The logits ``[2, T, V]`` of tokens from all over the vocabulary, the first half alike."""
    import torch

    config = model.config.get_text_config()
    length = min(_TOKENS, getattr(config, "max_position_embeddings", _TOKENS))
    dice = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (2, length), generator=dice)
    ids[1, : length // 2] = ids[0, : length // 2]
    with torch.no_grad():
        logits: torch.Tensor = model(**example_inputs(model.config, ids), use_cache=False).logits
    return logits
