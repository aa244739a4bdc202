"""What M2M100 and NLLB-MoE have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import past_padding

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
