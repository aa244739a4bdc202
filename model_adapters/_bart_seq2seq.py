"""What BART's kin have in common as encoder-decoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: The sizes of a tiny config, in their names.
TINY: dict[str, Any] = {
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
    "vocab_size": 96, "max_position_embeddings": 128, "bos_token_id": 0, "pad_token_id": 1,
    "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": None, "dropout": 0.0,
    "attention_dropout": 0.0, "activation_dropout": 0.0,
}  # fmt: skip


def look_back(model: PreTrainedModel) -> None:
    """Let the decoder's layers say that they look back only, as the mask that they get lets them.

    Some classes of transformers forget to.
    """
    for layer in model.get_decoder().layers:
        layer.self_attn.is_causal = True


def past_padding(
    input_ids: torch.Tensor, position_ids: torch.Tensor, padding_idx: int
) -> torch.Tensor:
    """Rows of a table ``[B, N]`` that begins behind padding's, ``padding_idx``, where that stays.

    A padding token in a prompt moves those behind it, as HF counts; of two beams neither is behind.

    Source: ``create_position_ids_from_input_ids`` of M2M100 and of RoBERTa.
    """
    is_text = input_ids.ne(padding_idx)
    behind = position_ids[:, None, :] < position_ids[:, :, None]
    skipped = (behind & ~is_text[:, None, :]).sum(dim=-1)
    return (position_ids + 1 - skipped) * is_text + padding_idx
