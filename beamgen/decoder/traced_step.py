"""What a step that is traced has in common, whichever cache it keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from onnxscript import OnnxFunction
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from beamgen.adapter import DecoderAdapter, KVGeometry
from beamgen.decoder.add_lora import AddLora, add_lora
from beamgen.decoder.attention_scale import own_scale
from beamgen.decoder.contract import Contract
from beamgen.errors import AdapterError
from beamgen.lora.slots import Slot

ATTENTION_NAME = "beamgen_traced"

# Sizes of the inputs that are traced. All different, so that no two axes are equal by
# chance, and more than one new token: BioGPT takes another path for a single one.
BATCH, PAST, NEW = 2, 3, 4
_RANK = 6

#: Keys and values of each layer.
KVPairs = list[tuple[torch.Tensor, torch.Tensor]]
#: A and B of each slot, in order.
SlotPairs = Sequence[tuple[torch.Tensor, torch.Tensor]]


class StepCache(ABC):
    """What HF models expect of a cache, as far as a traced step goes.

    Attributes:
        seq_len: int64 scalar, the largest position of the whole forward pass of HF, and 1;
            None where that is the largest of the step's own.

    Source: ``transformers.cache_utils.Cache`` (``update``, ``get_seq_length``,
    ``get_mask_sizes`` are what model code calls).
    """

    is_compileable = False
    seq_len: torch.Tensor | None = None

    def update(
        self,
        key: torch.Tensor,
        value: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new entries ``[B, Hkv, N, D]``; returns what ``attend`` is given: them."""
        return key, value

    @abstractmethod
    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many entries a layer holds."""

    def get_mask_sizes(self, new: torch.Tensor | int, layer_idx: int = 0) -> tuple[int, int]:
        """Length and offset of the keys; unused, since the 4-D mask is given.

        ``new`` is the number of new tokens, before transformers 5 their positions.
        """
        count = new if isinstance(new, int) else new.shape[0]
        return self.get_seq_length(layer_idx) + count, 0


class _NothingCached(StepCache):
    """The cache of a step that is only asked how its layers attend."""

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Nothing was before."""
        return 0


class TracedStep(torch.nn.Module, ABC):
    """One step of an adapter's model in the form of a decoder contract.

    Every layer of the HF model attends through ``attend``, which leaves one or two nodes
    of the domain ``beamgen`` in the trace. Such a node is a model-local function, so its
    body can change without tracing anything again.
    """

    #: The bodies of the nodes that ``attend`` leaves.
    bodies: ClassVar[tuple[OnnxFunction[Any, Any], ...]]

    def __init__(
        self, adapter: DecoderAdapter, model: PreTrainedModel, slots: Sequence[Slot] = ()
    ) -> None:
        """Prepare the model for tracing; it is changed in place."""
        super().__init__()
        adapter.prepare(model)
        self.adapter = adapter
        self.model = model
        self.slots = tuple(slots)
        self.geometry: KVGeometry = adapter.kv_geometry(model.config)
        ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION_NAME, _no_mask)
        for module in model.modules():
            config: Any = getattr(module, "config", None)
            if config is not None:
                config._attn_implementation = ATTENTION_NAME
        self._scales = self._own_scales()

    @property
    def config(self) -> PretrainedConfig:
        """The wrapped model's config, which optimum reads and writes."""
        return self.model.config

    @property
    @abstractmethod
    def contract(self) -> Contract:
        """The names and shapes of what ``forward`` takes and gives."""

    @abstractmethod
    def dummy_inputs(self) -> dict[str, Any]:
        """Inputs for the trace, by ``forward``'s names; nested caches are flattened in order."""

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
    ) -> torch.Tensor:
        """The hidden states ``[B, N, hidden]``, with a cache that ``attend`` understands."""
        AttentionInterface.register(ATTENTION_NAME, self._attention_over(cache))
        try:
            return self.adapter.forward(self.model, input_ids, position_ids, attention_bias, cache)
        finally:
            # the interface is global, and would keep the model in memory
            AttentionInterface.register(ATTENTION_NAME, _no_step)

    @property
    def functions(self) -> list[OnnxFunction[Any, Any]]:
        """The bodies of our nodes in the trace."""
        return [*self.bodies, AddLora] if self.slots else list(self.bodies)

    @contextmanager
    def filled(self, slots: SlotPairs) -> Iterator[None]:
        """Let each slot's layer give ``(x A) B`` besides its own output.

        Raises:
            AdapterError: a slot's layer is not there, or not fed ``[B, N, K]``.
        """
        handles = []
        try:
            for slot, pair in zip(self.slots, slots, strict=True):
                layer = self._layer(slot)
                handles.append(layer.register_forward_hook(partial(_add_lora, slot, pair)))
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
        shape = (BATCH, self.geometry.num_kv_heads, length, self.geometry.head_dim)
        return [(torch.zeros(shape), torch.zeros(shape)) for _ in range(self.geometry.num_layers)]

    def dummy_slots(self, rows: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """A LoRA of zeros for each slot, for that many rows."""
        return [
            (
                torch.zeros(rows, slot.in_features, _RANK),
                torch.zeros(rows, _RANK, slot.out_features),
            )
            for slot in self.slots
        ]

    def _own_scales(self) -> dict[int, float]:
        """By what each layer multiplies its scores."""
        scales: dict[int, float] = {}

        def attention(
            module: torch.nn.Module,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            attention_mask: torch.Tensor,
            scaling: float | None = None,
            **extras: Any,
        ) -> tuple[torch.Tensor, None]:
            layer: Any = module.layer_idx
            heads = (query.shape[1], key.shape[1], query.shape[-1])
            scales[layer] = own_scale(module, heads, scaling, extras, plain_attention)
            return torch.zeros_like(query).transpose(1, 2), None

        AttentionInterface.register(ATTENTION_NAME, attention)
        try:
            with torch.no_grad():
                ids = torch.arange(2)[None]
                bias = torch.zeros(1, 1, 2, 2)
                self.adapter.forward(self.model, ids, ids, bias, _NothingCached())
        finally:
            AttentionInterface.register(ATTENTION_NAME, _no_step)
        return scales

    def _attention_over(self, cache: Any) -> Callable[..., tuple[torch.Tensor, None]]:
        """A function of ``transformers.AttentionInterface``, which gives ``[B, N, H, D]``."""

        def attention(
            module: torch.nn.Module,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            attention_mask: torch.Tensor,
            **_: Any,
        ) -> tuple[torch.Tensor, None]:
            layer: Any = module.layer_idx
            scale = self._scales[layer]
            attended = self.attend(cache, layer, query, key, value, attention_mask, scale)
            return attended.transpose(1, 2).contiguous(), None

        return attention


def _add_lora(
    slot: Slot,
    pair: tuple[torch.Tensor, torch.Tensor],
    module: torch.nn.Module,
    given: tuple[torch.Tensor, ...],
    output: torch.Tensor,
) -> torch.Tensor:
    """Add a LoRA to a layer's output: a forward hook of torch."""
    if given[0].dim() != 3:
        raise AdapterError(
            f"{slot.module} is fed {given[0].dim()} axes, a slot needs [batch, tokens, features]",
            "leave it out of --lora-slots, or merge with --lora",
        )
    a, b = pair
    added: torch.Tensor = add_lora(output, given[0], a, b)
    return added


def plain_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    attention_bias: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Attention in torch; H may be a multiple of Hkv (GQA).

    Plain products and softmax: optimum replaces ``scaled_dot_product_attention``
    while it exports.
    """
    groups = query.shape[1] // keys.shape[1]
    keys = keys.repeat_interleave(groups, dim=1)
    values = values.repeat_interleave(groups, dim=1)
    scores = query @ keys.transpose(-1, -2) * scale + attention_bias
    return torch.softmax(scores, dim=-1) @ values


def _no_step(*_: Any, **__: Any) -> None:
    raise RuntimeError(
        "this model's attention was replaced to be traced; it runs in TracedStep only"
    )


def _no_mask(*_: Any, **__: Any) -> None:
    raise RuntimeError("the model builds its own mask instead of taking the 4-D one it is given")
