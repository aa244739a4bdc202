"""BART (Meta) as a decoder."""

from __future__ import annotations

from beamgen.registry import register
from model_adapters._bart import BartDecoder


@register
class BartAdapter(BartDecoder):
    """The decoder of ``transformers``' BART alone."""

    name = "bart"
    model_type = "bart"
    class_names = ("BartForCausalLM",)
