"""The loop backend's decoder step: the prompt's cache apart from the generated entries'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from beamgen.decoder import head
from beamgen.decoder.attention import plain_attention
from beamgen.decoder.contract import Contract, loop_contract
from beamgen.decoder.shared_prompt_attention import SharedPromptAttention
from beamgen.decoder.step_cache import StepCache
from beamgen.decoder.traced_node import Like, traced_node
from beamgen.decoder.traced_step import (
    BATCH,
    NEW,
    PAST,
    KVPairs,
    SlotPairs,
    TracedStep,
)

_PROMPT, _LAST = 5, 2


def _compute(
    query: torch.Tensor,
    prompt_key: torch.Tensor,
    prompt_value: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_bias: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """The arithmetic of ``SharedPromptAttention`` in torch."""
    keys = torch.cat([prompt_key, key], dim=2)
    values = torch.cat([prompt_value, value], dim=2)
    return plain_attention(query, keys, values, attention_bias, scale)


_shared_prompt_attention = traced_node(SharedPromptAttention, _compute, Like(0))


class LoopCache(StepCache):
    """Two caches: the prompt's, which a step only reads, and the one it extends."""

    def __init__(self, prompt: KVPairs, past: KVPairs, seq_len: torch.Tensor) -> None:
        """Hold L pairs ``[B, Hkv, S, D]`` and L pairs ``[B, Hkv, R, D]``."""
        super().__init__()
        self.seq_len = seq_len
        self.prompt = prompt
        self.present = list(past)

    def append(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append a layer's new entries.

        Returns:
            Keys and values ``[B, Hkv, R+N, D]``, ``[B, Hkv, S+R+N, D]`` where it is ``full``.
        """
        past_key, past_value = self.present[layer_idx]
        entry = (torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2))
        self.present[layer_idx] = entry
        if not self.full:
            return entry
        prompt_key, prompt_value = self.prompt[layer_idx]
        return torch.cat([prompt_key, entry[0]], dim=2), torch.cat([prompt_value, entry[1]], dim=2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many entries a layer holds, the prompt's where it is ``full``."""
        generated = self.present[layer_idx][0].shape[2]
        return generated + self.prompt[layer_idx][0].shape[2] if self.full else generated


class LoopStep(TracedStep):
    """The decoder step of the loop backend, see ``contract.loop_contract``."""

    bodies = (SharedPromptAttention,)

    @property
    def base_contract(self) -> Contract:
        """The names and shapes of what ``forward`` takes and gives."""
        return loop_contract(self.geometry, self.config.get_text_config().vocab_size, self.slots)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        last_n: torch.Tensor,
        seq_len: torch.Tensor,
        prompt: KVPairs,
        past: KVPairs,
        carried: Sequence[torch.Tensor] = (),
        slots: SlotPairs = (),
        key_positions: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """The logits ``[B, last_n, V]``, 2L present tensors ``[B, Hkv, R+N, D]``, and states.

        What is carried are the mask of the tokens and then the states, if the model has any.
        The cache arguments are called anything but ``past_key_values``, which
        optimum would rewrite.
        """
        cache = LoopCache(prompt, past, seq_len)
        if carried:
            cache.token_mask, *cache.states = carried
        with self.filled(slots):
            hidden = self.hidden(input_ids, position_ids, attention_bias, cache, key_positions)
            logits = self.last_logits(hidden, last_n)
        return (logits, *(tensor for pair in cache.present for tensor in pair), *cache.states)

    def last_logits(
        self, hidden: torch.Tensor, last_n: torch.Tensor, encoded: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The logits ``[B, n, V]`` of the last n of the hidden states ``[B, N, hidden]``."""
        last = hidden[:, hidden.shape[1] - last_n :, :]  # [B, n, hidden]
        return head.logits(self.model, last, encoded)

    def attend(
        self,
        cache: LoopCache,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_bias: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Attend to the prompt's cache, of which HF's layers know nothing, and to the given one."""
        attended: torch.Tensor = _shared_prompt_attention(
            query, *cache.prompt[layer], key, value, attention_bias, scale
        )
        return attended

    def base_inputs(self) -> dict[str, Any]:
        """Zeros of every shape that is traced."""
        return {
            **self.dummy_tokens(_PROMPT + PAST + NEW),
            "last_n": torch.tensor(_LAST),
            "seq_len": torch.tensor(NEW),
            "prompt": self.dummy_cache(_PROMPT),
            "past": self.dummy_cache(PAST),
            **({"carried": self.dummy_carried()} if self.geometry.states else {}),
            "slots": self.dummy_slots(BATCH),
        }
