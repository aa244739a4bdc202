"""LED (Allen AI): BART for long sources, whose encoder attends to neighbours."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from beamgen.adapter import PositionLimits
from beamgen.registry import register
from model_adapters._bart_seq2seq import TINY
from model_adapters._old_bart import OldBartKin

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class LEDAdapter(OldBartKin):
    """LED of ``transformers``, no token of whose sources is attended to globally."""

    name = "led"
    model_type = "led"
    class_names = ("LEDForConditionalGeneration",)
    tiny_sizes = {
        **{name: size for name, size in TINY.items() if name != "max_position_embeddings"},
        "max_encoder_position_embeddings": 128,
        "max_decoder_position_embeddings": 128,
        "attention_window": 4,  # two tokens on either side
    }
    # allenai/led-base-16384: 6 + 6 layers of 768, 50,265 tokens
    full_sizes = {
        "d_model": 768,
        "encoder_layers": 6,
        "decoder_layers": 6,
        "encoder_attention_heads": 12,
        "decoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
        "decoder_ffn_dim": 3072,
        "attention_window": [1024] * 6,
    }

    def source_positions(self, config: PretrainedConfig) -> int:
        """The longest source."""
        positions: int = config.max_encoder_position_embeddings
        return positions

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """How long what the decoder reads and writes may be."""
        return PositionLimits(max_positions=config.max_decoder_position_embeddings)

    def prepare(self, model: PreTrainedModel) -> None:
        """Let the encoder attend in a form that a trace can hold, which needs no padding."""
        encoder = model.get_encoder()
        encoder._pad_to_window_size = _not_padded
        for layer in encoder.layers:
            attention = layer.self_attn.longformer_self_attn
            attention.forward = MethodType(_attend, attention)


def _not_padded(
    input_ids: Any, attention_mask: Any, inputs_embeds: Any, **_: Any
) -> tuple[int, Any, Any, Any]:
    return 0, input_ids, attention_mask, inputs_embeds


def _attend(
    self: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor, **_: Any
) -> tuple[torch.Tensor]:
    """Each token to those within a window, ``[B, S, E]``, of which 0 in the mask are no padding.

    Source: ``LEDEncoderSelfAttention.forward``.
    """
    import torch
    from torch.nn.functional import pad

    width = self.one_sided_attn_window_size
    batch, length, size = hidden_states.shape

    def blocks(x: torch.Tensor) -> torch.Tensor:
        """``[B, S, ...]`` -> ``[B, n, width, ...]``."""
        padded = pad(x, (0, 0, 0, -length % width))
        return padded.view(batch, -1, width, *x.shape[2:])

    def around(x: torch.Tensor) -> torch.Tensor:
        """Blocks with those before and behind each, ``[B, n, 3 * width, ...]``."""
        wide = pad(x, (0, 0, 0, 0, 1, 1))
        return torch.cat([wide[:, :-2], wide[:, 1:-1], wide[:, 2:]], dim=2)

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:3], self.num_heads, self.head_dim).transpose(2, 3)

    query = heads(blocks(self.query(hidden_states) * self.head_dim**-0.5))
    keys = heads(around(blocks(self.key(hidden_states))))
    values = heads(around(blocks(self.value(hidden_states))))
    is_text = around(blocks((attention_mask == 0)[..., None].to(query.dtype))) > 0  # [B, n, 3w, 1]
    place = torch.arange(3 * width)
    near = (place[None, :] - place[width : 2 * width, None]).abs() <= width  # [w, 3w]
    seen = is_text.transpose(2, 3)[:, :, None] & near  # [B, n, 1, w, 3w]
    scores = torch.where(seen, query @ keys.transpose(-1, -2), torch.finfo(query.dtype).min)
    attended = torch.softmax(scores, dim=-1) @ values  # [B, n, H, w, D]
    return (attended.transpose(2, 3).reshape(batch, -1, size)[:, :length],)
