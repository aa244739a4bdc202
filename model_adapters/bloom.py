"""BLOOM (BigScience)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, PositionLimits, cache_keyword
from beamgen.registry import register

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class BloomAdapter(DecoderAdapter):
    """BLOOM of ``transformers``: ALiBi; attends by itself."""

    name = "bloom"
    model_type = "bloom"
    class_names = ("BloomForCausalLM", "BloomModel")
    tiny_sizes = {"n_layer": 2, "n_head": 4}
    # BLOOM 560M: 24 layers of 1024, 250,880 tokens
    full_sizes = {
        "vocab_size": 250_880,
        "hidden_size": 1024,
        "n_layer": 24,
        "n_head": 16,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
    }

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """What BLOOM was trained on: ALiBi itself knows no limit."""
        return PositionLimits(max_positions=2048)

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states, with distances from the entries' own positions."""
        import torch
        from transformers.models.bloom.modeling_bloom import build_alibi_tensor

        def alibi(mask: torch.Tensor, heads: int, dtype: torch.dtype) -> torch.Tensor:
            slopes = build_alibi_tensor(torch.ones(1, 2), heads, dtype)[:, 0, 1]
            told = slopes[None, :, None] * cache.key_positions[:, None, :]  # [B, H, C]
            flat: torch.Tensor = told.reshape(-1, 1, told.shape[-1])
            return flat

        backbone = model.base_model
        backbone.build_alibi_tensor = alibi
        output = backbone(
            input_ids=input_ids,
            attention_mask=attention_bias,
            use_cache=True,
            **{cache_keyword(backbone): cache},
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden
