"""CWM, a code world model (Meta)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beamgen.adapter import DecoderAdapter
from beamgen.registry import register
from model_adapters._tiny import tiny

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@register
class CwmAdapter(DecoderAdapter):
    """CWM of ``transformers``: Llama's rotary scaling, windows in some layers."""

    name = "cwm"
    model_type = "cwm"
    class_names = ("CwmForCausalLM", "CwmModel")
    since = "5.24"

    def tiny_config(self) -> PretrainedConfig:
        """A config of two layers and 96 tokens."""
        from transformers import CwmConfig

        return tiny(CwmConfig, head_dim=16)
