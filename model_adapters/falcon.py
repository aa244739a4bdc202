"""Falcon (TII)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, KVGeometry
from beamgen.registry import register

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class FalconAdapter(DecoderAdapter):
    """Falcon of ``transformers``: rotary positions or ALiBi; attends by itself.

    With ALiBi ``eager`` adds it twice, to the scores and within the mask; ``sdpa`` adds it once,
    as TII's own code of the RW models does: ``(scores + alibi) / sqrt(D)``.
    """

    name = "falcon"
    model_type = "falcon"
    class_names = ("FalconForCausalLM", "FalconModel")
    attention = "sdpa"

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """One head where queries share it; the new architecture's are stored for each query."""
        heads = config.num_attention_heads
        shared = config.multi_query and not config.new_decoder_architecture
        return KVGeometry(
            config.num_hidden_layers, 1 if shared else heads, config.hidden_size // heads
        )

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states; ALiBi from the entries' own positions."""
        import torch
        from transformers.models.falcon import modeling_falcon as hf

        longest, own = model.config.max_position_embeddings, hf.build_alibi_tensor

        def alibi(mask: torch.Tensor, heads: int, dtype: torch.dtype) -> torch.Tensor:
            table = own(torch.ones(1, longest), heads, dtype)[:, 0]  # [H, .], as bfloat16 rounds
            told = table[:, cache.key_positions.clamp(min=0)].transpose(0, 1)  # [B, H, C]
            flat: torch.Tensor = told.reshape(-1, 1, told.shape[-1])
            return flat

        hf.build_alibi_tensor = alibi
        try:
            return super().forward(model, input_ids, position_ids, attention_bias, cache)
        finally:
            hf.build_alibi_tensor = own
