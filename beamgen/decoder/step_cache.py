"""The cache that a model is given while its step is traced."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from transformers import Cache

from beamgen.decoder.recurrence import recurrence


class StepCache(Cache, ABC):  # type: ignore[misc] # transformers is untyped
    """What HF models expect of a cache, as far as a traced step goes.

    Attributes:
        full: whether ``update`` gives all keys and values of a layer, for a model that
            attends by itself or in plain operators. Otherwise ``attend`` finds the rest.
        seq_len: int64 scalar, the largest position of the whole forward pass of HF, and 1;
            None where that is the largest of the step's own.
        states: float ``[B, G, ...]`` each, which a model with states replaces.
        token_mask: int64 ``[B, N]``, 0 on padding, for a model with states.

    Source: ``transformers.cache_utils.Cache`` (``update``, ``get_seq_length``,
    ``get_mask_sizes`` are what model code calls).
    """

    full = False
    is_compileable = False
    is_initialized = True
    is_sliding = is_linear = is_dummy = (False,)
    layers = ()
    seq_len: torch.Tensor | None = None

    def __init__(self) -> None:
        """Hold no entries yet, and no positions."""
        self.states: list[torch.Tensor] = []
        self.token_mask: torch.Tensor | None = None
        self._positions: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self._biases: dict[int, torch.Tensor] = {}
        self._given: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.asked_for_positions = False

    def tell_positions(self, new: torch.Tensor, keys: torch.Tensor | None) -> None:
        """Positions ``[B, N]`` of the new tokens, and ``[B, C]`` of all that they attend to."""
        self._positions = (new, keys)

    @property
    def key_positions(self) -> torch.Tensor:
        """Positions ``[B, C]`` of the entries attended: an input of the step that asks for it."""
        assert self._positions is not None, "a step tells them first"
        keys = self._positions[1]
        assert keys is not None, "the probe has found that they are asked for"
        self.asked_for_positions = True
        return keys

    @property
    def distances(self) -> torch.Tensor:
        """How far before a new token each entry stands, negative ``[B, N, C]``; asks for both."""
        keys = self.key_positions
        assert self._positions is not None, "a step tells them first"
        return keys[:, None, :] - self._positions[0][:, :, None]

    def as_runs(self, x: torch.Tensor) -> torch.Tensor:
        """What is of tokens ``[B, N, ...]`` as of runs ``[B*G, N/G, ...]``."""
        batch, runs = self.states[0].shape[:2]
        return x.reshape(batch * runs, -1, *x.shape[2:])

    def as_tokens(self, x: torch.Tensor) -> torch.Tensor:
        """The reverse of ``as_runs``."""
        return x.reshape(self.states[0].shape[0], -1, *x.shape[2:])

    def recurrence(
        self, decay: torch.Tensor, added: torch.Tensor, state: torch.Tensor
    ) -> torch.Tensor:
        """States ``[R, T, ...]`` after each token of a run: ``decay[t] * h[t-1] + added[t]``.

        decay and added ``[R, T, ...]``, state ``[R, ...]`` before the first: one node, however
        long the runs are.
        """
        states: torch.Tensor = recurrence(decay, added, state)
        return states

    def within(self, window: int, attention_bias: torch.Tensor) -> torch.Tensor:
        """The bias ``[B, 1, N, C]`` of layers whose tokens see so many, themselves included."""
        if window not in self._biases:
            keys = self.key_positions
            assert self._positions is not None, "a step tells them first"
            distance = self._positions[0][:, None, :, None] - keys[:, None, None, :]
            masked = torch.finfo(attention_bias.dtype).min
            self._biases[window] = torch.where(distance < window, attention_bias, masked)
        return self._biases[window]

    def update(
        self,
        key: torch.Tensor,
        value: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new entries ``[B, Hkv, N, D]``.

        Returns:
            All keys and values of the layer where the cache is ``full``, else what ``attend``
            is given.
        """
        self._given[layer_idx] = given = self.append(key, value, layer_idx)
        return given

    def gave(self, layer_idx: int, key: torch.Tensor, value: torch.Tensor) -> bool:
        """Whether a layer attends to what ``update`` gave it, and makes nothing else of that."""
        given = self._given.get(layer_idx, ())
        return len(given) == 2 and all(
            one is other or (one.shape == other.shape and one.data_ptr() == other.data_ptr())
            for one, other in zip(given, (key, value), strict=True)
        )

    @abstractmethod
    def append(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new entries, and give what ``update`` returns."""

    @abstractmethod
    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many entries a layer holds."""

    def get_mask_sizes(self, new: torch.Tensor | int, layer_idx: int = 0) -> tuple[int, int]:
        """Length and offset of the keys; unused, since the 4-D mask is given.

        ``new`` is the number of new tokens, before transformers 5 their positions.
        """
        count = new if isinstance(new, int) else new.shape[0]
        return self.get_seq_length(layer_idx) + count, 0
