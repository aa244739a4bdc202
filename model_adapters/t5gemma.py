"""T5Gemma (Google): Gemma 2 as an encoder and a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import TINY_SIZES, KVGeometry, PositionLimits, cache_keyword
from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


@register
class T5GemmaAdapter(Seq2SeqAdapter):
    """T5Gemma of ``transformers``: grouped queries, windows and soft caps on either side."""

    name = "t5gemma"
    model_type = "t5gemma"
    class_names = ("T5GemmaForConditionalGeneration",)

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens on either side, with short windows."""
        from transformers import T5GemmaConfig, T5GemmaModuleConfig

        sizes = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 6}
        ends = {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1}
        sides = [T5GemmaModuleConfig(**TINY_SIZES, **sizes, **ends) for _ in range(2)]
        return T5GemmaConfig(*sides, vocab_size=96, decoder_start_token_id=1, **ends)

    def full_config(self) -> PretrainedConfig:
        """``google/t5gemma-s-s-prefixlm``: 8 + 8 layers of 512, 256,000 tokens."""
        from transformers import T5GemmaConfig, T5GemmaModuleConfig

        sizes: dict[str, Any] = {
            "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 8, "head_dim": 64,
            "num_attention_heads": 8, "num_key_value_heads": 8, "query_pre_attn_scalar": 64,
        }  # fmt: skip
        sides = [T5GemmaModuleConfig(**sizes) for _ in range(2)]
        return T5GemmaConfig(*sides, decoder_start_token_id=2)

    def source_positions(self, config: PretrainedConfig) -> int:
        """The longest source."""
        positions: int = config.encoder.max_position_embeddings
        return positions

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """Of the decoder."""
        return super(Seq2SeqAdapter, self).kv_geometry(config.decoder)

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """How long what the decoder reads and writes may be."""
        return super().position_limits(config.decoder)

    def encode(self, model: PreTrainedModel, sources: dict[str, torch.Tensor]) -> torch.Tensor:
        """The encoder's hidden states; its masks are given, for making them is not traced."""
        import torch
        from transformers import masking_utils
        from transformers.models.t5gemma import modeling_t5gemma

        encoder, mask = model.get_encoder(), sources["attention_mask"]
        named = "sliding_window_bidirectional_mask_function"  # with a width of its own in 4.57
        window = getattr(modeling_t5gemma, named, None) or getattr(masking_utils, named)
        place = torch.arange(mask.shape[1])
        near = window(encoder.config.sliding_window)(0, 0, place[:, None], place[None, :])
        is_text = mask[:, None, None, :] != 0

        def bias(seen: torch.Tensor) -> torch.Tensor:
            return torch.where(seen, 0.0, torch.finfo(torch.float32).min)

        masks = {"full_attention": bias(is_text), "sliding_attention": bias(is_text & near)}
        hidden: torch.Tensor = encoder(
            input_ids=sources["input_ids"], attention_mask=masks
        ).last_hidden_state
        return hidden

    def cross_attention(self, model: PreTrainedModel) -> list[tuple[Any, Any]]:
        """The layers that make keys and values of what was encoded."""
        crossing = [layer.cross_attn for layer in model.get_decoder().layers]
        return [(each.k_proj, each.v_proj) for each in crossing]

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states; the windows of its layers are the engine's to apply."""
        decoder = model.get_decoder()
        output = decoder(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=dict.fromkeys(("full_attention", "sliding_attention"), attention_bias),
            encoder_hidden_states=cache.encoded,
            encoder_attention_mask={"full_attention": None},
            use_cache=True,
            **{cache_keyword(decoder): cache},
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden
