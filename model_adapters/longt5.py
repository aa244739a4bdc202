"""LongT5 (Google): T5 for long sources, whose encoder attends to neighbours and to summaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.registry import register
from model_adapters._t5 import T5Kin

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class LongT5Adapter(T5Kin):
    """LongT5 of ``transformers``, with local or transient-global attention."""

    name = "longt5"
    model_type = "longt5"
    class_names = ("LongT5ForConditionalGeneration",)
    tiny_sizes = {
        **T5Kin.tiny_sizes,
        "local_radius": 2,
        "global_block_size": 4,
        "encoder_attention_type": "transient-global",
    }
    # google/long-t5-tglobal-base: 12 + 12 layers of 768, 32,128 tokens
    full_sizes = {
        "d_model": 768,
        "num_layers": 12,
        "num_decoder_layers": 12,
        "num_heads": 12,
        "feed_forward_proj": "gated-gelu",
        "encoder_attention_type": "transient-global",
        "tie_word_embeddings": False,
        "decoder_start_token_id": 0,
    }

    def traced_source_len(self, config: PretrainedConfig) -> int:
        """Of more than a block of either kind, and no multiple of one: both are made then."""
        both: int = (config.local_radius + 1) * config.global_block_size
        return both + 1

    def encode(self, model: PreTrainedModel, sources: dict[str, torch.Tensor]) -> torch.Tensor:
        """The encoder's hidden states, of a source to which padding was added.

        A source shorter than a block has no summary, and is the other side of a branch in HF.
        With the padding there is one, which nobody attends to.
        """
        from torch.nn.functional import pad

        length = sources["input_ids"].shape[1]
        block = model.config.global_block_size
        padded = {name: pad(value, (0, block - 1)) for name, value in sources.items()}
        return super().encode(model, padded)[:, :length]
