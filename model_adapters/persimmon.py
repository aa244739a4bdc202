"""Persimmon (Adept)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class PersimmonAdapter(DecoderAdapter):
    """Persimmon of ``transformers``: squared ReLU, normalized queries and keys."""

    name = "persimmon"
    model_type = "persimmon"
    class_names = ("PersimmonForCausalLM", "PersimmonModel")
