"""The size of a tiny config, in the names that most configs share."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_SIZES = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 96,
    "max_position_embeddings": 256,
}
_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def tiny(config_class: type[PretrainedConfig], **sizes: Any) -> PretrainedConfig:
    """A config of two layers and 96 tokens, in the names of Llama's that the class takes.

    ``sizes`` are for those that it calls otherwise, or alone has.
    """
    taken = inspect.signature(config_class.__init__).parameters
    shared = {name: size for name, size in _SIZES.items() if name in taken}
    return config_class(**{**shared, **_SPECIAL, **sizes})
