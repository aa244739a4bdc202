"""What a model is given to be run once, for a look at its logits or its cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamgen.registry import adapter_or_default
from beamgen.seq2seq_adapter import Seq2SeqAdapter, example_features

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig


def example_inputs(config: PretrainedConfig, ids: torch.Tensor) -> dict[str, Any]:
    """By HF's names: ids ``[B, T]`` of a decoder, with a source before it where an encoder is.

    All rows have one source: the first row of ids where it is a text, else random features.
    """
    import torch

    if not config.is_encoder_decoder:
        return {"input_ids": ids}
    rows = len(ids)
    adapter = adapter_or_default(config.model_type, encoder_decoder=True)
    sources = adapter.sources(config) if isinstance(adapter, Seq2SeqAdapter) else ()
    features = example_features(sources, 1)
    if not features:
        return {"input_ids": ids[:1].expand(rows, -1), "decoder_input_ids": ids}
    encoded = {
        name: torch.from_numpy(values).expand(rows, *values.shape[1:])
        for name, values in features.items()
    }
    return {**encoded, "decoder_input_ids": ids}
