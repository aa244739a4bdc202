"""mBART (Meta): translation between many languages."""

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
class MBartSeq2SeqAdapter(Seq2SeqAdapter):
    """mBART of ``transformers``, encoder and decoder; ``mbart`` is the decoder alone."""

    name = "mbart_seq2seq"
    model_type = "mbart"
    class_names = ("MBartForConditionalGeneration",)
    implied: ClassVar[Mapping[str, object]] = MappingProxyType(
        {"add_final_layer_norm": True, "normalize_before": True, "normalize_embedding": True}
    )

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import MBartConfig

        return MBartConfig(**TINY)

    def full_config(self) -> PretrainedConfig:
        """``facebook/mbart-large-50``: 12 + 12 layers of 1,024, 250,054 tokens."""
        from transformers import MBartConfig

        return MBartConfig(vocab_size=250054, decoder_start_token_id=2, scale_embedding=True)
