"""Pegasus (Google): summaries."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from beamgen.registry import register
from beamgen.seq2seq_adapter import Seq2SeqAdapter
from model_adapters._bart_seq2seq import TINY

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class PegasusAdapter(Seq2SeqAdapter):
    """Pegasus of ``transformers``, which begins with the padding token."""

    name = "pegasus"
    model_type = "pegasus"
    class_names = ("PegasusForConditionalGeneration",)
    implied: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            "add_final_layer_norm": True,
            "normalize_before": True,
            "static_position_embeddings": True,
        }
    )

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import PegasusConfig

        ends = {"pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 1}
        return PegasusConfig(**{**TINY, **ends})

    def full_config(self) -> PretrainedConfig:
        """``google/pegasus-xsum``: 16 + 16 layers of 1,024, 96,103 tokens."""
        from transformers import PegasusConfig

        return PegasusConfig(
            vocab_size=96103, encoder_layers=16, decoder_layers=16, scale_embedding=True,
            activation_function="relu", max_position_embeddings=512,
        )  # fmt: skip
