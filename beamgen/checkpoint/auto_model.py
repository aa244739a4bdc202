"""Which of transformers' classes a checkpoint's model is loaded by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def auto_model(config: PretrainedConfig) -> Any:
    """``AutoModelForCausalLM``, or ``AutoModelForSeq2SeqLM`` where an encoder comes first.

    Raises:
        ImportError: torch is not installed.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
