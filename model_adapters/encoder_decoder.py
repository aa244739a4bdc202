"""Two models of one kind made one: BERT2BERT, RoBERTa shared, and others that were trained so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.adapter import (
    TINY_SIZES,
    KVGeometry,
    PositionLimits,
    cache_keyword,
    hands_masks_on,
)
from beamgen.errors import AdapterError
from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import past_padding

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

#: Whose positions begin after the padding token's, and pass over padding.
_AFTER_PADDING = ("roberta", "camembert", "xlm-roberta")
#: Decoders whose layers attend to an encoder as BERT's do; any encoder may be before them.
_DECODERS = ("bert", "bert-generation", "electra", *_AFTER_PADDING)


@register
class EncoderDecoderAdapter(Seq2SeqAdapter):
    """``EncoderDecoderModel`` of ``transformers`` with a decoder of BERT's kin."""

    name = "encoder_decoder"
    model_type = "encoder-decoder"
    class_names = ("EncoderDecoderModel",)

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens on either side, of unequal widths."""
        from transformers import BertConfig, EncoderDecoderConfig

        sizes = {name: size for name, size in TINY_SIZES.items() if name != "num_key_value_heads"}
        ends = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 1}
        return EncoderDecoderConfig.from_encoder_decoder_configs(
            BertConfig(**{**sizes, "hidden_size": 32}), BertConfig(**sizes), **ends
        )

    def source_positions(self, config: PretrainedConfig) -> int | None:
        """The longest source that the encoder has positions for; None where any will do."""
        return _positions(config.encoder)

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """Of the decoder."""
        return super(Seq2SeqAdapter, self).kv_geometry(config.decoder)

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """How long what the decoder reads and writes may be.

        Raises:
            AdapterError: the decoder is none that is known here.
        """
        kind = config.decoder.model_type
        if kind not in _DECODERS:
            raise AdapterError(
                f"its decoder is a '{kind}', and those of {', '.join(_DECODERS)} are known here",
                "search with transformers' own generate, or write an adapter: "
                "docs/adding-an-architecture.md",
            )
        positions = _positions(config.decoder)
        assert positions is not None, "all of them have a table"
        return PositionLimits(max_positions=positions)

    def cross_attention(self, model: PreTrainedModel) -> list[tuple[Any, Any]]:
        """What makes keys and values of what was encoded, which may be of another width."""
        from torch.nn import Sequential

        widened = [model.enc_to_dec_proj] if hasattr(model, "enc_to_dec_proj") else []
        crossing = [each.crossattention.self for each in model.decoder.base_model.encoder.layer]
        return [
            (Sequential(*widened, each.key), Sequential(*widened, each.value)) for each in crossing
        ]

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """The hidden states; older HF code takes a mask of ones and zeros with three axes."""
        decoder = model.decoder.base_model
        if not hands_masks_on(decoder):
            attention_bias = (attention_bias == 0).to(attention_bias.dtype)[:, 0]
        config = decoder.config
        if config.model_type in _AFTER_PADDING:
            position_ids = past_padding(input_ids, position_ids, config.pad_token_id)
        output = decoder(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=attention_bias,
            encoder_hidden_states=cache.encoded,
            encoder_attention_mask=cache.encoder_attention_mask,
            use_cache=True,
            **{cache_keyword(decoder): cache},
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden


def _positions(config: PretrainedConfig) -> int | None:
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in _AFTER_PADDING:
        positions -= config.pad_token_id + 1
    return positions
