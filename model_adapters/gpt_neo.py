"""GPT-Neo (EleutherAI)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@register
class GPTNeoAdapter(DecoderAdapter):
    """GPT-Neo of ``transformers``: windows in every other layer, scores without a scale."""

    name = "gpt_neo"
    model_type = "gpt_neo"
    class_names = ("GPTNeoForCausalLM", "GPTNeoModel")
    tiny_sizes = {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]}

    def prepare(self, model: PreTrainedModel) -> None:
        """Let the layers attend through the interface, with the window of the local ones.

        HF looks for the window in the order of its cache.
        """
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        def attend(layer: Any, query: Any, key: Any, value: Any, mask: Any, *_: Any) -> Any:
            function = ALL_ATTENTION_FUNCTIONS[layer.config._attn_implementation]
            local = layer.config.attention_layers[layer.layer_idx] == "local"
            window = layer.config.window_size if local else None
            attended, weights = function(
                layer, query, key, value, mask, scaling=1.0, sliding_window=window
            )
            return attended.transpose(1, 2), weights

        for block in model.base_model.h:
            layer = block.attn.attention
            layer.layer_idx, layer._attn = layer.layer_id, attend.__get__(layer)
