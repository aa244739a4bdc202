"""A decoder step in ONNX, with what a search has to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from beamgen.adapter import KVGeometry
from beamgen.decoder.contract import KEY_POSITIONS, KEY_SLOTS, cache_names
from beamgen.lora.slots import Slot
from beamgen.seq2seq_adapter import Source


@dataclass(frozen=True)
class DecoderGraph:
    """What ``export_decoder`` gives and a search is built around.

    Attributes:
        model: holds one of the contracts. A search reads it, and shares its weights.
        geometry: of its caches.
        attention_window: tokens a position sees, itself included, or None: all of them.
        slots: the linear layers that take a LoRA; their A and B are inputs.
        counts_padding: whether positions count a batch's padding.
        sources: what an encoder before it reads; none where there is none.
    """

    model: ir.Model
    geometry: KVGeometry
    attention_window: int | None = None
    slots: Sequence[Slot] = ()
    counts_padding: bool = False
    sources: Sequence[Source] = ()

    @property
    def cache_dtype(self) -> ir.DataType:
        """The type of the keys and values that a loop hands on, as its inputs tell."""
        name, *_ = cache_names("past", self.geometry)
        (cache,) = (value for value in self.model.graph.inputs if value.name == name)
        assert cache.dtype is not None, "the contract was verified"
        return cache.dtype

    @property
    def reads_key_positions(self) -> bool:
        """Whether it asks for the positions of the entries that it attends to."""
        return any(value.name == KEY_POSITIONS for value in self.model.graph.inputs)

    @property
    def takes_rows(self) -> bool:
        """Whether it makes a row of each beam, for which it asks where the entries belong."""
        return any(value.name == KEY_SLOTS for value in self.model.graph.inputs)

    @property
    def asks_for_positions(self) -> bool:
        """Whether its positions are others than those that count text, or more of them."""
        return self.counts_padding or self.reads_key_positions or self.takes_rows

    @property
    def vocab_size(self) -> int:
        """V, of which every contract has as many logits."""
        (logits,) = (value for value in self.model.graph.outputs if value.name == "logits")
        assert logits.shape is not None, "the contract was verified"
        size = logits.shape[-1]
        assert isinstance(size, int), "the contract was verified"
        return size
