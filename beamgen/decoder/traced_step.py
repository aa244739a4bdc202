"""What a step that is traced has in common, whichever cache it keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from onnxscript import OnnxFunction
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel, masking_utils
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from beamgen.adapter import DecoderAdapter, KVGeometry, check_stateless
from beamgen.decoder.add_lora import (
    AddLora,
    AddLoraToTokens,
    add_lora,
    add_lora_to_tokens,
)
from beamgen.decoder.attention import Asked, asked_by, plain_attention
from beamgen.decoder.attention_scale import own_scale
from beamgen.decoder.contract import (
    KEY_POSITIONS,
    Contract,
    verify_sizes,
    with_key_positions,
)
from beamgen.decoder.expert_loops import EXPERT_BODIES, has_loops
from beamgen.decoder.experts import traceable_experts
from beamgen.decoder.recurrence import Recurrence
from beamgen.decoder.rotary import traceable_rotary
from beamgen.decoder.traceable import traceable
from beamgen.errors import AdapterError
from beamgen.lora.slots import Slot, path_ends
from beamgen.seq2seq_adapter import Source

ATTENTION_NAME = "beamgen_traced"

# Sizes of the inputs that are traced. All different, so that no two axes are equal by
# chance, and more than one new token: BioGPT takes another path for a single one.
BATCH, PAST, NEW = 2, 3, 4
_RANK = 6
_RUNS = 2

#: Keys and values of each layer.
KVPairs = list[tuple[torch.Tensor, torch.Tensor]]
#: A and B of each slot, in order.
SlotPairs = Sequence[tuple[torch.Tensor, torch.Tensor]]


class TracedStep(torch.nn.Module, ABC):
    """One step of an adapter's model in the form of a decoder contract.

    Every layer of the HF model attends through ``attend``, which leaves one or two nodes
    of the domain ``beamgen`` in the trace. Such a node is a model-local function, so its
    body can change without tracing anything again.
    """

    #: The bodies of the nodes that ``attend`` leaves.
    bodies: ClassVar[tuple[OnnxFunction[Any, Any], ...]]
    #: Who runs such a step, where that has no place for states.
    stateless_reader: ClassVar[str | None] = None
    #: What an encoder before the step reads.
    sources: Sequence[Source] = ()

    def __init__(
        self, adapter: DecoderAdapter, model: PreTrainedModel, slots: Sequence[Slot] = ()
    ) -> None:
        """Prepare the model for tracing; it is changed in place."""
        super().__init__()
        if self.stateless_reader is not None:
            check_stateless(adapter, model.config, self.stateless_reader)
        if adapter.kv_geometry(model.config).num_layers < 1:
            raise AdapterError(
                f"no layer of this '{adapter.name}' model keeps keys and values",
                "models of states alone cannot be exported",
            )
        adapter.prepare(model)
        traceable_experts(model)
        self._long_rotary = traceable_rotary(model)
        self.adapter = adapter
        self.model = model
        self.slots = tuple(slots)
        self.geometry: KVGeometry = adapter.kv_geometry(model.config)
        self._asked_for_positions = False
        self._window = adapter.position_limits(model.config).attention_window
        self._own_attention: list[tuple[Any, str]] = []
        self._attends_by_itself = False
        ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION_NAME, _no_mask)
        for module in model.modules():
            config: Any = getattr(module, "config", None)
            if config is not None and config._attn_implementation != ATTENTION_NAME:
                self._own_attention.append((config, config._attn_implementation))
                config._attn_implementation = ATTENTION_NAME
        self._probe()

    def _probe(self) -> None:
        """Find out by one run how the model attends, and whether the sizes are the contract's.

        A model whose layers do not attend through ``transformers.AttentionInterface`` attends
        by itself: it gets its own implementation back, and all keys from the cache.

        Raises:
            AdapterError: a layer asks for what is not known here, sizes differ, or a slot's
                layer is never run.
        """
        self._asked: dict[int, Asked] = {}
        self._fed: set[str] = set()
        self._fed_tokens: set[str] = set()
        why: Exception | None = None
        self._full = self._reads_key_positions = True  # all that may be asked for
        try:
            outputs = self._run()
        except AdapterError:
            raise
        except Exception as error:
            if self._asked:
                raise
            why = error
        through, layers = len(self._asked), self.geometry.num_layers
        if 0 < through != layers:
            raise AdapterError(
                f"{through} of {layers} layers attend through transformers.AttentionInterface",
                "correct the adapter's kv_geometry, or let it treat all layers alike",
            )
        if not through:
            self._attends_by_itself = True
            for config, implementation in self._own_attention:
                config._attn_implementation = implementation
            try:
                outputs = self._run()
            except Exception as error:
                raise error from why
        elif all(asked.is_standard for asked in self._asked.values()):
            self._full = False
        self._reads_key_positions = self._asked_for_positions
        self._refuse_idle(self._fed, "the model never runs {}")
        self.slots = tuple(
            replace(slot, shared=slot.module in self._fed_tokens) for slot in self.slots
        )
        verify_sizes([tuple(output.shape) for output in outputs], self.contract)

    def check_slots(self, inputs: Set[str]) -> None:
        """Hold the slots against the names of what a trace reads.

        Raises:
            AdapterError: no logit depends on a slot's layer, such as a pooler.
        """
        read = {slot.module for slot in self.slots if set(slot.inputs) <= inputs}
        self._refuse_idle(read, "no logit depends on {}")

    def _refuse_idle(self, at_work: Set[str], cause: str) -> None:
        """Refuse slots at layers that are not among those at work."""
        idle = [slot.module for slot in self.slots if slot.module not in at_work]
        if not idle:
            return
        ends = path_ends([slot.module for slot in self.slots if slot.module in at_work], idle)
        more = f" and {len(idle) - 1} other layers of the slots" if len(idle) > 1 else ""
        name = f"--lora-slots {','.join(ends)}, or " if ends else ""
        raise AdapterError(
            f"{cause.format(idle[0] + more)}: no LoRA does anything there",
            f"pass {name}--lora without --lora-slots, which merges a LoRA that has such layers",
        )

    def _run(self) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            outputs: tuple[torch.Tensor, ...] = self(**self.dummy_inputs())
        return outputs

    @property
    def config(self) -> PretrainedConfig:
        """The wrapped model's config, which optimum reads and writes."""
        return self.model.config

    @property
    @abstractmethod
    def base_contract(self) -> Contract:
        """The names and shapes of what ``forward`` takes and gives, without key positions."""

    @property
    def contract(self) -> Contract:
        """The names and shapes of what ``forward`` takes and gives."""
        base = self.base_contract
        return with_key_positions(base) if self._reads_key_positions else base

    @abstractmethod
    def base_inputs(self) -> dict[str, Any]:
        """Inputs for the trace, by ``forward``'s names; nested caches are flattened in order."""

    def dummy_inputs(self) -> dict[str, Any]:
        """Inputs for the trace, which end with the key positions if they are asked for."""
        inputs = self.base_inputs()
        if self._reads_key_positions:
            attended = inputs["attention_bias"].shape[-1]
            inputs[KEY_POSITIONS] = torch.arange(attended).expand(BATCH, attended).clone()
        return inputs

    @abstractmethod
    def attend(
        self,
        cache: Any,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_bias: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """The attention of one layer: query ``[B, H, N, D]`` -> ``[B, H, N, D]``.

        Args:
            cache: what ``hidden`` was given.
            layer: which one.
            query: of the new tokens.
            key: what the cache's ``update`` gave back, as the value.
            value: see key.
            attention_bias: float ``[B, 1, N, attended]``, additive.
            scale: of the scores.
        """

    def hidden(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
        key_positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The hidden states ``[B, N, hidden]``, with a cache that ``attend`` understands."""
        cache.full = self._full
        cache.tell_positions(position_ids, key_positions)
        for rotary in self._long_rotary:
            own = position_ids.max() + 1 if cache.seq_len is None else cache.seq_len
            rotary.seq_len = own
        AttentionInterface.register(ATTENTION_NAME, self._attention_over(cache))
        try:
            with traceable():
                return self.adapter.forward(
                    self.model, input_ids, position_ids, attention_bias, cache
                )
        finally:
            self._asked_for_positions = cache.asked_for_positions
            # the interface is global, and would keep the model in memory
            AttentionInterface.register(ATTENTION_NAME, _no_step)

    @property
    def functions(self) -> list[OnnxFunction[Any, Any]]:
        """The bodies of our nodes in the trace."""
        added = {AddLoraToTokens if slot.shared else AddLora: None for slot in self.slots}
        carrying = [Recurrence] if self.geometry.states else []
        loops = EXPERT_BODIES if has_loops(self.model) else ()
        return [*self.bodies, *added, *carrying, *loops]

    @contextmanager
    def filled(self, slots: SlotPairs) -> Iterator[None]:
        """Let each slot's layer give ``(x A) B`` besides its own output.

        Raises:
            AdapterError: a slot's layer is not there, or not fed ``[B, N, K]`` or ``[T, K]``.
        """
        handles = []
        try:
            for slot, pair in zip(self.slots, slots, strict=True):
                layer = self._layer(slot)
                handles.append(layer.register_forward_hook(partial(self._add_lora, slot, pair)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _layer(self, slot: Slot) -> torch.nn.Module:
        try:
            layer: torch.nn.Module = self.model.get_submodule(slot.module)
        except AttributeError as error:
            raise AdapterError(
                f"the adapter '{self.adapter.name}' replaces {slot.module}, so it takes no LoRA",
                "leave it out of --lora-slots, or merge with --lora",
            ) from error
        return layer

    def dummy_tokens(self, attended: int) -> dict[str, torch.Tensor]:
        """The inputs that every step has, of ``NEW`` tokens that attend to so many entries."""
        return {
            "input_ids": torch.ones(BATCH, NEW, dtype=torch.long),
            "position_ids": torch.arange(NEW).expand(BATCH, NEW),
            "attention_bias": torch.zeros(BATCH, 1, NEW, attended),
        }

    def dummy_cache(self, length: int) -> KVPairs:
        """A cache of that many entries, all zeros, with keys and values apart."""
        shapes = [(BATCH, self.geometry.num_kv_heads, length, d) for d in self.geometry.widths]
        layers = range(self.geometry.num_layers)
        return [(torch.zeros(shapes[0]), torch.zeros(shapes[1])) for _ in layers]

    def dummy_carried(self) -> list[torch.Tensor]:
        """The mask of the tokens and states of zeros, of a model that has states."""
        states = [torch.zeros(BATCH, _RUNS, *shape) for shape in self.geometry.states]
        return [torch.ones(BATCH, NEW, dtype=torch.long), *states] if states else []

    def dummy_slots(self, rows: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """A LoRA of zeros for each slot, for that many rows."""
        return [
            (
                torch.zeros(1 if slot.shared else rows, slot.in_features, _RANK),
                torch.zeros(1 if slot.shared else rows, _RANK, slot.out_features),
            )
            for slot in self.slots
        ]

    def _add_lora(
        self,
        slot: Slot,
        pair: tuple[torch.Tensor, torch.Tensor],
        module: torch.nn.Module,
        given: tuple[torch.Tensor, ...],
        output: torch.Tensor,
    ) -> torch.Tensor:
        """Add a LoRA to a layer's output: a forward hook of torch.

        A layer that is fed tokens without their rows, as experts are, takes one for all.
        """
        x, *_ = given
        self._fed.add(slot.module)
        added: torch.Tensor
        if x.dim() == 2:
            self._fed_tokens.add(slot.module)
            added = add_lora_to_tokens(output, x, *pair)
        elif x.dim() == 3 and int(x.shape[0]) == BATCH:
            added = add_lora(output, x, *pair)
        else:
            raise AdapterError(
                f"{slot.module} is fed {list(map(int, x.shape))}, and a slot needs "
                "[batch, tokens, features] or [tokens, features]",
                "leave it out of --lora-slots, or merge with --lora",
            )
        return added

    def _attention_over(self, cache: Any) -> Callable[..., tuple[torch.Tensor, None]]:
        """A function of ``transformers.AttentionInterface``, which gives ``[B, N, H, D]``."""

        def attention(
            module: torch.nn.Module,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            attention_mask: torch.Tensor,
            **given: Any,
        ) -> tuple[torch.Tensor, None]:
            layer: Any = module.layer_idx
            asked = asked_by(module, query, value, given)
            if layer not in self._asked:
                scale = _own_scale(module, query, key, given)
                own_keys = not cache.gave(layer, key, value)
                self._asked[layer] = replace(asked, scale=scale, own_keys=own_keys)
            asked = replace(asked, scale=self._asked[layer].scale)
            if asked.window is not None and asked.window != self._window:
                attention_mask = cache.within(asked.window, attention_mask)
            if cache.full:
                attended = plain_attention(
                    query,
                    key,
                    value,
                    attention_mask,
                    asked.scale,
                    asked.softcap,
                    asked.sinks,
                )
            else:
                attended = self.attend(cache, layer, query, key, value, attention_mask, asked.scale)
            return attended.transpose(1, 2).contiguous(), None

        return attention


def _own_scale(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, given: Mapping[str, Any]
) -> float:
    """By what a layer multiplies its scores, with all else that it asks for."""
    heads = (query.shape[1], key.shape[1], query.shape[-1])
    asked = asked_by(module, query, query, given)

    def plain(q: Any, k: Any, v: Any, bias: torch.Tensor, scale: float) -> torch.Tensor:
        return plain_attention(q, k, v, bias, scale, asked.softcap, asked.sinks)

    extras = {name: value for name, value in given.items() if name != "scaling"}
    return own_scale(module, heads, given.get("scaling"), extras, plain)


def _no_step(*_: Any, **__: Any) -> None:
    raise RuntimeError(
        "this model's attention was replaced to be traced; it runs in TracedStep only"
    )


def _no_mask(*_: Any, mask_function: Any = None, attention_mask: Any = None, **__: Any) -> None:
    """None for what hides nothing, as cross-attention asks for it with transformers 5."""
    in_both_directions = getattr(masking_utils, "bidirectional_mask_function", None)
    if attention_mask is None and mask_function is in_both_directions is not None:
        return
    raise RuntimeError("the model builds its own mask instead of taking the 4-D one it is given")
