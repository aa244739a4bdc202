"""Checkpoints of random weights in the shape of a known model."""

from __future__ import annotations

from pathlib import Path

from beamgen.adapter import DecoderAdapter
from beamgen.checkpoint.auto_model import auto_model
from beamgen.errors import SettingError, close_matches
from beamgen.registry import adapters, is_encoder_decoder


def find_shape(asked: str | None) -> DecoderAdapter:
    """The adapter whose shape is asked for, by default the decoder of fewest parameters.

    Raises:
        SettingError: there is no such shape.
    """
    known = {adapter.name: adapter for adapter in adapters() if _has_shape(adapter)}
    decoders = [adapter for adapter in known.values() if not is_encoder_decoder(adapter)]
    if asked is None and decoders:
        return min(decoders, key=_parameters)
    if asked not in known:
        there = f"there are {', '.join(known) or 'none'}; -m takes a checkpoint"
        raise SettingError(
            f"there is no shape called '{asked}'", close_matches(asked or "", known) or there
        )
    return known[asked]


def random_checkpoint(adapter: DecoderAdapter, folder: Path, seed: int = 0) -> Path:
    """A checkpoint of the adapter's ``full_config``, without a tokenizer.

    Raises:
        SettingError: the adapter has none.
    """
    import torch

    config = adapter.full_config()
    if config is None:
        raise SettingError(f"'{adapter.name}' has no shape of its own", "pass -m CHECKPOINT")
    torch.manual_seed(seed)
    auto_model(config).from_config(config).save_pretrained(str(folder))
    return folder


def _has_shape(adapter: DecoderAdapter) -> bool:
    """Without making the config, which would import transformers."""
    own = type(adapter).full_config is not DecoderAdapter.full_config
    return own or adapter.full_sizes is not None


def _parameters(adapter: DecoderAdapter) -> int:
    """About how many: of layers like GPT-2's and one embedding, for no model is made."""
    config = adapter.full_config()
    assert config is not None, "it has a shape"
    width: int = config.hidden_size
    of_layers: int = 12 * config.num_hidden_layers * width * width
    of_tokens: int = config.vocab_size * width
    return of_layers + of_tokens
