"""CWM, a code world model (Meta)."""

from __future__ import annotations

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register


@register
class CwmAdapter(DecoderAdapter):
    """CWM of ``transformers``: Llama's rotary scaling, windows in some layers."""

    name = "cwm"
    model_type = "cwm"
    class_names = ("CwmForCausalLM", "CwmModel")
    since = "5.24"
    tiny_sizes = {"head_dim": 16}
