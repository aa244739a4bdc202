"""The size of a tiny config, in the names that most configs share."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from beamgen.adapter import TINY_SIZES, TINY_TOKENS

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def tiny(config_class: type[PretrainedConfig], **sizes: Any) -> PretrainedConfig:
    """A config of two layers and 96 tokens, in the names of Llama's that the class takes.

    ``sizes`` are for those that it calls otherwise, or alone has.
    """
    taken = inspect.signature(config_class.__init__).parameters
    shared = {name: size for name, size in TINY_SIZES.items() if name in taken}
    return config_class(**{**shared, **TINY_TOKENS, **sizes})
