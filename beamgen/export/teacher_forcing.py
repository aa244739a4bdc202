"""A loop decoder runs on its own, and gives its logits along a text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from beamgen.decoder.contract import (
    KEY_POSITIONS,
    TOKEN_MASK,
    cache_names,
    source_name,
    state_names,
)
from beamgen.decoder.graph import DecoderGraph
from beamgen.settings.prompts import Ids

Floats = npt.NDArray[np.float32]

_MASKED = np.finfo(np.float32).min
_FILE = "decoder.onnx"
_NOTHING: Mapping[str, npt.NDArray[Any]] = MappingProxyType({})


class TeacherForcing:
    """Runs a decoder that holds ``contract.loop_contract`` in ONNX Runtime."""

    def __init__(self, decoder: DecoderGraph, folder: Path) -> None:
        """Write the decoder into ``folder`` and load it.

        Args:
            decoder: read, not changed; its slots get no LoRA.
            folder: for files that have to stay as long as this is used.
        """
        import onnxruntime

        ir.save(decoder.model, folder / _FILE, external_data=f"{_FILE}.data")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder / _FILE), options, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]
        self._geometry = decoder.geometry
        self._cache_dtype = decoder.cache_dtype.numpy()
        #: What an encoder before it reads.
        self.sources = tuple(decoder.sources)
        self._window = decoder.attention_window
        self._reads_key_positions = decoder.reads_key_positions
        self._no_lora = {
            name: empty
            for slot in decoder.slots
            for name, empty in zip(slot.inputs, slot.empty(), strict=True)
        }

    def logits(
        self,
        ids: Ids,
        prompt_len: int | None = None,
        source: Mapping[str, npt.NDArray[Any]] = _NOTHING,
    ) -> Floats:
        """Logits ``[B, N, V]`` of what follows each place of ``[B, N]``.

        Args:
            ids: rows of one length, without padding.
            prompt_len: tokens of the first step, each later one alone, as in a search;
                None takes all in one step.
            source: what an encoder reads, if there is one, by HF's names.
        """
        encoded = {source_name(name): array for name, array in source.items()}
        length = ids.shape[1]
        prompt_len = prompt_len or length
        heads, widths = self._geometry.num_kv_heads, self._geometry.widths
        pair = [np.zeros((len(ids), heads, 0, width), self._cache_dtype) for width in widths]
        empty = pair * self._geometry.num_layers
        states = [np.zeros((len(ids), 1, *shape), np.float32) for shape in self._geometry.states]
        first, prompt, states = self._step(ids[:, :prompt_len], 0, empty, empty, states, encoded)
        found, past = [first], empty
        for place in range(prompt_len, length):
            new = ids[:, place : place + 1]
            logits, past, states = self._step(new, place, prompt, past, states, encoded)
            found.append(logits)
        return np.concatenate(found, axis=1)

    def _step(
        self,
        ids: Ids,
        start: int,
        prompt: list[Any],
        past: list[Any],
        states: list[Any],
        encoded: Mapping[str, Any],
    ) -> tuple[Floats, list[Any], list[Any]]:
        """Logits ``[B, N, V]`` of new tokens, the first at ``start``, the cache and the states."""
        batch, new = ids.shape
        places = np.arange(start, start + new)
        distance = places[:, None] - np.arange(start + new)
        hidden = (distance < 0) | (distance >= (self._window or np.inf))
        bias = np.where(hidden, _MASKED, np.float32(0))
        feeds = {
            "input_ids": ids,
            "position_ids": np.tile(places, (batch, 1)),
            "attention_bias": np.tile(bias, (batch, 1, 1, 1)),
            "last_n": np.array(new),
            "seq_len": np.array(start + new),
            **dict(zip(cache_names("prompt", self._geometry), prompt, strict=True)),
            **dict(zip(cache_names("past", self._geometry), past, strict=True)),
            **dict(zip(state_names("past_state", self._geometry), states, strict=True)),
            **self._no_lora,
            **encoded,
        }
        if self._reads_key_positions:
            feeds[KEY_POSITIONS] = np.tile(np.arange(start + new), (batch, 1))
        if states:
            feeds[TOKEN_MASK] = np.ones_like(ids)
        logits, *present = self._session.run(self._names, feeds)
        return logits, present[: len(past)], present[len(past) :]
