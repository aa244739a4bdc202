"""What Hugging Face ``generate`` is given besides its settings."""

from __future__ import annotations

from typing import Any

from beamgen.parity.constraint import within_constraint
from beamgen.settings.config import SearchConfig


def given_besides(config: SearchConfig, prompt_len: int, vocab_size: int) -> dict[str, Any]:
    """Arguments of ``generate`` and of ``_get_logits_processor``.

    A class that transcribes puts its processor of times before those of a caller.
    """
    given = within_constraint(config, prompt_len, vocab_size)
    return {**given, "logits_processor": [*_times(config, prompt_len), *given["logits_processor"]]}


def _times(config: SearchConfig, prompt_len: int) -> list[Any]:
    if not config.return_timestamps:
        return []
    from transformers import GenerationConfig
    from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

    (eos,) = config.eos_token_id
    read = GenerationConfig(
        eos_token_id=eos,
        no_timestamps_token_id=config.no_timestamps_token_id,
        max_initial_timestamp_index=config.max_initial_timestamp_index,
    )
    return [WhisperTimeStampLogitsProcessor(read, begin_index=prompt_len)]
