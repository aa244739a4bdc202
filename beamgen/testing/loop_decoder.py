"""An exported loop decoder in ONNX Runtime, fed as the search feeds it, and HF beside it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from beamgen.adapter import DecoderAdapter
from beamgen.decoder.contract import TOKEN_MASK, cache_names, source_name, state_names
from beamgen.registry import adapter_or_default
from beamgen.seq2seq_adapter import Seq2SeqAdapter, example_features

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Floats = npt.NDArray[np.float32]

_SOURCE, _PADDED = 12, 3
_MASKED = float(np.finfo(np.float32).min)


def hf_logits(model: PreTrainedModel, ids: Sequence[int], source_len: int = _SOURCE) -> Floats:
    """HF's logits ``[V]`` of what follows ids, with the positions that ``generate`` passes."""
    import torch

    tokens = torch.tensor([list(ids)])
    given = {"input_ids": tokens}
    if model.config.is_encoder_decoder:
        encoded = {
            name: torch.from_numpy(x) for name, x in source_of(model.config, source_len).items()
        }
        given = {**encoded, "decoder_input_ids": tokens}
    if "position_ids" in inspect.signature(model.forward).parameters:
        given["position_ids"] = torch.arange(len(ids))[None]
    with torch.no_grad():
        logits: Floats = model(**given, use_cache=False).logits[0, -1].numpy()
    return logits


def source_of(config: PretrainedConfig, length: int = _SOURCE) -> dict[str, npt.NDArray[Any]]:
    """What an encoder reads, the same for each call: features, or a text.

    A text is ids and mask ``[1, length]``, padded where it has the room.
    """
    adapter = adapter_or_default(config.model_type, encoder_decoder=True)
    sources = adapter.sources(config) if isinstance(adapter, Seq2SeqAdapter) else ()
    features = example_features(sources, 1)
    if features:
        return features
    size = config.get_text_config().vocab_size
    ids = np.random.default_rng(1).integers(3, size - 1, (1, length))
    mask = np.ones_like(ids)
    if length > _PADDED:
        mask[:, -_PADDED:] = 0
    return {"input_ids": np.where(mask, ids, config.pad_token_id), "attention_mask": mask}


class LoopDecoder:
    """One row's prompt, and then the running beams of it.

    Attributes:
        sources: what the encoder reads, by name; nothing where there is none.
    """

    def __init__(self, adapter: DecoderAdapter, model: PreTrainedModel, folder: Path) -> None:
        """Export the model, which is changed, through ``folder`` into memory."""
        import onnx_ir as ir
        import onnxruntime

        from beamgen.decoder.export import export_decoder

        self.sources = source_of(model.config) if model.config.is_encoder_decoder else {}
        decoder = export_decoder(adapter, model, folder)
        proto = ir.to_proto(decoder.model).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            proto, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self._names = [output.name for output in self._session.get_outputs()]
        self._window = decoder.attention_window
        self._prompt_names = cache_names("prompt", decoder.geometry)
        self._past_names = cache_names("past", decoder.geometry)
        self._state_names = state_names("past_state", decoder.geometry)
        self._prompt: dict[str, Any] = {}
        self._states: dict[str, Any] = {}
        self._prompt_len = 0

    def prompt(self, ids: Sequence[int]) -> Floats:
        """Logits ``[V]`` of what follows a prompt, which is kept for ``beams``."""
        slots = np.arange(len(ids))
        empty = {**self._empty(self._prompt_names), **self._first_states()}
        found = self._run(ids, slots, slots, self._causal(slots, slots), empty, 1)
        self._prompt_len = len(ids)
        self._prompt = {
            name: found[name.replace("prompt", "present")] for name in self._prompt_names
        }
        self._states = {name: found[name.replace("past", "present")] for name in self._state_names}
        logits: Floats = self._logits(found)[0]
        return logits

    def beams(self, tokens: Sequence[int]) -> Floats:
        """Logits ``[K, V]`` of what follows the prompt and each beam's own token."""
        slots = np.full(len(tokens), self._prompt_len)
        prompt = np.arange(self._prompt_len)
        own = np.where(np.eye(len(tokens), dtype=bool), 0.0, _MASKED)
        bias = np.hstack([self._causal(slots, prompt), own])
        keys = np.concatenate([prompt, slots])
        states = {name: state.repeat(len(tokens), axis=1) for name, state in self._states.items()}
        past = {**self._prompt, **states}
        return self._logits(self._run(tokens, slots, keys, bias, past, len(tokens)))

    def _run(
        self, ids: Sequence[int], slots: Any, keys: Any, bias: Any, past: Any, last_n: int
    ) -> dict[str, Any]:
        feeds = {
            "input_ids": np.array([ids]),
            "position_ids": slots[None],
            "attention_bias": bias.astype(np.float32)[None, None],
            "key_positions": keys[None],
            "last_n": np.array(last_n),
            "seq_len": np.array(slots.max() + 1),
            TOKEN_MASK: np.ones((1, len(ids)), np.int64),
            **{source_name(name): x for name, x in self.sources.items()},
            **past,
            **self._empty(self._past_names),
        }
        wanted = {name: value for name, value in feeds.items() if name in self._inputs}
        return dict(zip(self._names, self._session.run(self._names, wanted), strict=True))

    def _logits(self, found: dict[str, Any]) -> Floats:
        logits: Floats = found["logits"][0]
        return logits

    def _causal(self, queries: Any, keys: Any) -> Any:
        distance = queries[:, None] - keys[None, :]
        return np.where((distance < 0) | (distance >= (self._window or np.inf)), _MASKED, 0.0)

    def _first_states(self) -> dict[str, Any]:
        shapes = ((name, self._inputs[name]) for name in self._state_names)
        return {name: np.zeros((1, 1, *shape[2:]), np.float32) for name, shape in shapes}

    def _empty(self, names: Sequence[str]) -> dict[str, Any]:
        shapes = ((name, self._inputs[name]) for name in names)
        return {
            name: np.zeros((1, heads, 0, width), np.float32)
            for name, (_, heads, _, width) in shapes
        }
