"""MPT (MosaicML)."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter, PositionLimits
from beamgen.errors import AdapterError
from beamgen.registry import register

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

#: What HF's class takes and does not read, as it computes; other programs know more.
_FIXED = {
    "logit_scale": (None, 1.0),
    "norm_type": ("layernorm", "low_precision_layernorm"),
    "attn_config.alibi": (True,),
    "attn_config.alibi_bias_max": (8,),
    "attn_config.prefix_lm": (False,),
}


@register
class MptAdapter(DecoderAdapter):
    """MPT of ``transformers``: ALiBi, fused q, k and v."""

    name = "mpt"
    model_type = "mpt"
    class_names = ("MptForCausalLM", "MptModel")
    tiny_sizes = {"n_layers": 2, "d_model": 64, "n_heads": 4, "max_seq_len": 256}

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """The length up to which HF computes its ALiBi."""
        return PositionLimits(max_positions=config.max_seq_len)

    def prepare(self, model: PreTrainedModel) -> None:
        """Leave the model as it is: nothing of it is traced but what ``forward`` calls.

        Raises:
            AdapterError: its config says something that HF's class takes for something else.
        """
        for name, computed in _FIXED.items():
            found = attrgetter(name)(model.config)
            if found not in computed:
                raise AdapterError(
                    f"config.json says {name} {found!r}, and MPT of transformers computes as if "
                    f"it were {computed[0]!r}",
                    f"only MPT checkpoints with {name} {computed[0]!r} can be exported",
                )

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states: HF's own layers, with distances from the entries' positions.

        Source: ``MptModel.forward`` and ``MptAttention.forward``.
        """
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        attend = ALL_ATTENTION_FUNCTIONS[model.config._attn_implementation]
        backbone = model.base_model
        slopes = -backbone.build_mpt_alibi_tensor(model.config.n_heads, 2)[:, 0, 0]
        bias = attention_bias + slopes[None, :, None, None] * cache.key_positions[:, None, None]
        hidden: torch.Tensor = backbone.wte(input_ids)
        for block in backbone.blocks:
            layer = block.attn
            mixed = layer.Wqkv(block.norm_1(hidden))
            if layer.clip_qkv:
                mixed = mixed.clamp(min=-layer.clip_qkv, max=layer.clip_qkv)
            heads = (*input_ids.shape, layer.n_heads, layer.head_dim)
            query, key, value = (x.reshape(heads).transpose(1, 2) for x in mixed.chunk(3, dim=2))
            key, value = cache.update(key, value, layer.layer_idx)
            attended, _ = attend(layer, query, key, value, bias, scaling=layer.softmax_scale)
            hidden = layer.out_proj(attended.flatten(2)) + hidden
            hidden = block.ffn(block.norm_2(hidden), hidden)
        normed: torch.Tensor = backbone.norm_f(hidden)
        return normed
