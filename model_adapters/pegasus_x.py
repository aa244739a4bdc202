"""PEGASUS-X (Google): summaries of long texts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY, look_back

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class PegasusXAdapter(Seq2SeqAdapter):
    """PEGASUS-X of ``transformers``, whose encoder attends within blocks and to global tokens."""

    name = "pegasus_x"
    model_type = "pegasus_x"
    class_names = ("PegasusXForConditionalGeneration",)
    tiny_sizes = {
        **TINY,
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "block_size": 4,
        "num_global_tokens": 3,
    }
    # google/pegasus-x-base: 12 + 12 layers of 768, 96,103 tokens
    full_sizes = {
        "d_model": 768,
        "encoder_layers": 12,
        "decoder_layers": 12,
        "encoder_ffn_dim": 3072,
        "decoder_ffn_dim": 3072,
        "encoder_attention_heads": 12,
        "decoder_attention_heads": 12,
        "activation_function": "relu",
        "num_global_tokens": 128,
    }

    def traced_source_len(self, config: PretrainedConfig) -> int:
        """Of more than a block, and no multiple of one: it is padded then."""
        length: int = config.block_size + 1
        return length

    def prepare(self, model: PreTrainedModel) -> None:
        """Let the encoder embed positions in a form that a trace can hold."""
        import torch

        look_back(model)
        table = model.get_encoder().embed_positions
        table.forward = lambda x: _angles(table, torch.arange(x.shape[1])[None])

    def place(self, decoder: Any, input_ids: torch.Tensor, position_ids: torch.Tensor) -> None:
        """Let the decoder embed these positions ``[B, N]``, which no table holds."""
        del input_ids
        table = decoder.embed_positions
        table.forward = lambda *_: _angles(table, position_ids)


def _angles(table: Any, position_ids: torch.Tensor) -> torch.Tensor:
    """``[B, N, hidden]`` of positions ``[B, N]``.

    Source: ``PegasusXSinusoidalPositionalEmbedding.forward``.
    """
    import torch

    half = table.embed_dim // 2
    step = math.log(float(table.max_scale)) / (half - 1)
    angles = position_ids[..., None] * torch.exp(torch.arange(half).float() * -step)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
