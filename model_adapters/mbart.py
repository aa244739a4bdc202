"""mBART (Meta) as a decoder."""

from __future__ import annotations

from beamgen.registry import register
from model_adapters._bart import BartDecoder


@register
class MBartAdapter(BartDecoder):
    """The decoder of ``transformers``' mBART alone."""

    name = "mbart"
    model_type = "mbart"
    class_names = ("MBartForCausalLM",)
