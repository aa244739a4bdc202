"""M2M100 and NLLB (Meta): translation between many languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY, past_padding

if TYPE_CHECKING:
    import torch


class M2M100Kin(Seq2SeqAdapter):
    """Positions that pass over padding tokens."""

    implied = {
        "add_final_layer_norm": True,
        "normalize_before": True,
        "static_position_embeddings": True,
    }

    def place(self, decoder: Any, input_ids: torch.Tensor, position_ids: torch.Tensor) -> None:
        """Let the decoder embed these positions ``[B, N]``; a padding token has none."""
        table = decoder.embed_positions
        rows = past_padding(input_ids, position_ids, table.padding_idx)
        table.forward = lambda *_, **__: table.weights[rows]


@register
class M2M100Adapter(M2M100Kin):
    """M2M100 of ``transformers``."""

    name = "m2m_100"
    model_type = "m2m_100"
    class_names = ("M2M100ForConditionalGeneration",)
    tiny_sizes = TINY
    # facebook/nllb-200-distilled-600M: 12 + 12 layers of 1,024, 256,206 tokens
    full_sizes = {"vocab_size": 256206, "decoder_start_token_id": 2}
