"""M2M100 and NLLB (Meta): translation between many languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY

if TYPE_CHECKING:
    import torch


@register
class M2M100Adapter(Seq2SeqAdapter):
    """M2M100 of ``transformers``, whose positions pass over padding tokens."""

    name = "m2m_100"
    model_type = "m2m_100"
    class_names = ("M2M100ForConditionalGeneration",)
    implied = {
        "add_final_layer_norm": True,
        "normalize_before": True,
        "static_position_embeddings": True,
    }
    tiny_sizes = TINY
    # facebook/nllb-200-distilled-600M: 12 + 12 layers of 1,024, 256,206 tokens
    full_sizes = {"vocab_size": 256206, "decoder_start_token_id": 2}

    def place(self, decoder: Any, input_ids: torch.Tensor, position_ids: torch.Tensor) -> None:
        """Let the decoder embed these positions ``[B, N]``; a padding token has none.

        One in a prompt moves those behind it, as HF counts; of two beams neither is behind.

        Source: ``M2M100SinusoidalPositionalEmbedding``.
        """
        table = decoder.embed_positions
        is_text = input_ids.ne(table.padding_idx)
        behind = position_ids[:, None, :] < position_ids[:, :, None]
        skipped = (behind & ~is_text[:, None, :]).sum(dim=-1)
        counted = (position_ids + 1 - skipped) * is_text + table.padding_idx
        table.forward = lambda *_, **__: table.weights[counted]
