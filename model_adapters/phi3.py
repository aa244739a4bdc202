"""Phi-3 (Microsoft): grouped-query attention, rotary positions, LongRoPE."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from beamgen.adapter import DecoderAdapter, PositionLimits
from beamgen.registry import register

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class Phi3Adapter(DecoderAdapter):
    """Phi-3 of ``transformers``: GQA, fused QKV and gate/up, rotary positions."""

    name = "phi3"
    model_type = "phi3"
    class_names = ("Phi3ForCausalLM", "Phi3Model")
    demo = Path(__file__).parent / "demo" / "phi3"
    held_out = Path(__file__).parent / "demo" / "held-out-phi3.txt"
    fused: ClassVar[dict[str, tuple[str, ...]]] = {
        "qkv_proj": ("q_proj", "k_proj", "v_proj"),
        "gate_up_proj": ("gate_proj", "up_proj"),
    }

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """The limits, with the length at which LongRoPE switches factors.

        Source: ``Phi3ForCausalLM.prepare_inputs_for_generation``, which drops
        the cache when a sequence grows past that length.
        """
        limits = super().position_limits(config)
        if not _is_longrope(config):
            return limits
        return replace(limits, recompute_boundary=config.original_max_position_embeddings)

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states, with the factors of the whole prompt in each piece of it."""
        model.base_model.rotary_emb.seq_len = cache.seq_len
        return super().forward(model, input_ids, position_ids, attention_bias, cache)

    def prepare(self, model: PreTrainedModel) -> None:
        """Replace the rotary embedding by one whose choice of factors is traced.

        HF chooses between LongRoPE's short and long factors in Python
        (``modeling_rope_utils.dynamic_rope_update``), so a plain trace would
        freeze the side the dummy input happens to be on.
        """
        model.base_model.rotary_emb = _traceable(model.base_model.rotary_emb)

    def full_config(self) -> PretrainedConfig:
        """A config of Phi-3's layers in the size of a small model: 8 of 1024, 32,064 tokens.

        Four query heads share a key/value head.
        """
        from transformers import Phi3Config

        return Phi3Config(
            num_hidden_layers=8,
            hidden_size=1024,
            num_attention_heads=16,
            num_key_value_heads=4,
            intermediate_size=2816,
            vocab_size=32064,
            max_position_embeddings=4096,
            original_max_position_embeddings=4096,
            bos_token_id=1,
            pad_token_id=0,
            eos_token_id=2,
        )

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers, 96 tokens, two query heads per key/value head."""
        from transformers import Phi3Config

        return Phi3Config(
            num_hidden_layers=2,
            hidden_size=64,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=128,
            vocab_size=96,
            max_position_embeddings=256,
            original_max_position_embeddings=256,
            bos_token_id=1,
            pad_token_id=0,
            eos_token_id=2,
        )


def _is_longrope(config: PretrainedConfig) -> bool:
    scaling = config.rope_scaling or {}
    return scaling.get("rope_type", scaling.get("type")) == "longrope"


def _traceable(rotary: Any) -> torch.nn.Module:
    """A rotary embedding that chooses its factors by ``seq_len``, else by its own positions."""
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config, scaling, short = rotary.config, rotary.attention_scaling, rotary.original_inv_freq
    boundary, long = 0, None
    if _is_longrope(config):
        boundary = config.original_max_position_embeddings
        long, _ = ROPE_INIT_FUNCTIONS["longrope"](config, None, seq_len=boundary + 1)

    class Rotary(torch.nn.Module):
        seq_len: torch.Tensor | None = None

        def forward(
            self, x: torch.Tensor, position_ids: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            inv_freq = short  # [D/2]
            if long is not None:
                seq_len = position_ids.max() + 1 if self.seq_len is None else self.seq_len
                inv_freq = torch.where(seq_len > boundary, long, short)
            freqs = position_ids[:, :, None].float() * inv_freq  # [B, N, D/2]
            angles = torch.cat((freqs, freqs), dim=-1)  # [B, N, D]
            return angles.cos() * scaling, angles.sin() * scaling

    return Rotary()
