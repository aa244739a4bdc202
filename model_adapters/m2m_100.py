"""M2M100 and NLLB (Meta): translation between many languages."""

from __future__ import annotations

from beamgen.registry import register
from model_adapters._bart_seq2seq import TINY
from model_adapters._m2m_100 import M2M100Kin


@register
class M2M100Adapter(M2M100Kin):
    """M2M100 of ``transformers``."""

    name = "m2m_100"
    model_type = "m2m_100"
    class_names = ("M2M100ForConditionalGeneration",)
    tiny_sizes = TINY
    # facebook/nllb-200-distilled-600M: 12 + 12 layers of 1,024, 256,206 tokens
    full_sizes = {"vocab_size": 256206, "decoder_start_token_id": 2}
