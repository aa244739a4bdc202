"""Which of transformers' classes a checkpoint's model is loaded by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def auto_model(config: PretrainedConfig) -> Any:
    """``AutoModelForCausalLM``; where an encoder comes first, that of texts or that of speech.

    Raises:
        ImportError: torch is not installed.
    """
    from transformers import (
        MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING,
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
        AutoModelForSpeechSeq2Seq,
    )

    if not config.is_encoder_decoder:
        return AutoModelForCausalLM
    hears = type(config) in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING
    return AutoModelForSpeechSeq2Seq if hears else AutoModelForSeq2SeqLM
