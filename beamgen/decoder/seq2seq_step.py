"""The loop backend's step of an encoder-decoder: the encoder is traced with it.

The trace holds the encoder, and each layer's cross-attention keys and values, as nodes that
depend on the sources alone; ``beamgen.search.lift`` moves them out of the loops. So no
cross-attention cache crosses a contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from onnxscript import OnnxFunction
from transformers import EncoderDecoderCache, PreTrainedModel

from beamgen.adapter import DecoderAdapter
from beamgen.decoder.attention import Asked, asked_by
from beamgen.decoder.contract import Contract, loop_contract, with_sources
from beamgen.decoder.cross_attention import (
    CrossAttention,
    CrossAttentionToAll,
    cross_attention,
    cross_attention_to_all,
)
from beamgen.decoder.loop_step import LoopCache, LoopStep
from beamgen.decoder.traced_step import BATCH, KVPairs, SlotPairs
from beamgen.errors import AdapterError
from beamgen.lora.slots import Slot
from beamgen.registry import is_encoder_decoder
from beamgen.seq2seq_adapter import Seq2SeqAdapter


@dataclass(frozen=True)
class _CrossLayer:
    """What one layer's cross-attention reads, as its products read it.

    A model that attends by itself transposes its keys itself.
    """

    keys: torch.Tensor  # [B, H, D, source], or [B, H, source, D]
    values: torch.Tensor  # [B, H, source, D]


@dataclass(frozen=True)
class _Encoded:
    """What a search computes once for each row."""

    hidden: torch.Tensor  # [B, source, hidden]
    layers: list[_CrossLayer]
    bias: torch.Tensor | None  # [B, 1, 1, source]
    mask: torch.Tensor | None = None  # [B, source], of a model that attends by itself


class Seq2SeqCache(LoopCache, EncoderDecoderCache):  # type: ignore[misc] # transformers is untyped
    """The cache of the decoder's own tokens, and what HF's decoders look for beside it.

    HF's layers find that cross-attention is cached already (``is_updated``) and read
    ``cross_attention_cache.layers``. ``isinstance`` is how they tell it from a decoder's.
    """

    def __init__(
        self, prompt: KVPairs, past: KVPairs, seq_len: torch.Tensor, encoded: _Encoded
    ) -> None:
        """Hold both."""
        super().__init__(prompt, past, seq_len)
        self.encoded = encoded.hidden
        self.encoder_attention_mask = encoded.mask
        self.cross_attention_cache = encoded
        self.is_updated = dict.fromkeys(range(len(encoded.layers)), True)

    @property
    def self_attention_cache(self) -> Seq2SeqCache:
        """Of the decoder's own tokens, which this is."""
        return self

    def crossed(self, layer: int, keys: torch.Tensor) -> _CrossLayer | None:
        """What a layer's cross-attention reads, if these are its keys."""
        found: _CrossLayer = self.cross_attention_cache.layers[layer]
        return found if keys is found.keys else None


def _crossed_attention(
    query: torch.Tensor, layer: _CrossLayer, asked: Asked, bias: torch.Tensor | None
) -> torch.Tensor:
    """What a source gives to queries ``[B, H, N, D]``; H may be a multiple of its heads."""
    batch, heads, _, width = query.shape
    rows = query
    if heads != layer.keys.shape[1]:  # queries of one head of keys are as many more tokens
        rows = query.reshape(batch, layer.keys.shape[1], -1, width)
    # the scale is multiplied with what is lifted out of the loops
    read = (layer.keys * asked.scale, layer.values)
    if asked.softcap is not None:
        scores = torch.tanh(rows @ read[0] / asked.softcap) * asked.softcap
        attended = torch.softmax(scores if bias is None else scores + bias, dim=-1) @ read[1]
    elif bias is None:
        attended = cross_attention_to_all(rows, *read)
    else:
        attended = cross_attention(rows, *read, bias)
    return attended if rows is query else attended.reshape(batch, heads, -1, width)


def loop_step(
    adapter: DecoderAdapter, model: PreTrainedModel, slots: Sequence[Slot] = ()
) -> LoopStep:
    """The step of the loop backend for an architecture, be there an encoder or not."""
    step = Seq2SeqStep if is_encoder_decoder(adapter) else LoopStep
    return step(adapter, model, slots)


class Seq2SeqStep(LoopStep):
    """An encoder with the decoder step of the loop backend behind it, see ``with_sources``."""

    adapter: Seq2SeqAdapter

    def __init__(
        self, adapter: DecoderAdapter, model: PreTrainedModel, slots: Sequence[Slot] = ()
    ) -> None:
        """Prepare the model for tracing; it is changed in place."""
        assert isinstance(adapter, Seq2SeqAdapter), "a decoder has no encoder to be traced"
        self.sources = adapter.sources(model.config)
        super().__init__(adapter, model, slots)

    @property
    def base_contract(self) -> Contract:
        """The names and shapes of what ``forward`` takes and gives."""
        size = self.config.get_text_config().vocab_size
        return with_sources(loop_contract(self.geometry, size, self.slots), self.sources)

    def forward(  # type: ignore[override] # of one more input
        self,
        sources: Sequence[torch.Tensor],
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        last_n: torch.Tensor,
        seq_len: torch.Tensor,
        prompt: KVPairs,
        past: KVPairs,
        slots: SlotPairs = (),
        key_positions: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """As ``LoopStep``'s, behind the encoder."""
        named = {source.name: x for source, x in zip(self.sources, sources, strict=True)}
        with self.filled(slots):
            cache = Seq2SeqCache(prompt, past, seq_len, self._encoded(named))
            hidden = self.hidden(input_ids, position_ids, attention_bias, cache, key_positions)
            logits = self.last_logits(hidden, last_n, cache.encoded)
        return (logits, *(tensor for pair in cache.present for tensor in pair))

    @property
    def functions(self) -> list[OnnxFunction[Any, Any]]:
        """The bodies of our nodes in the trace."""
        has_mask = any(source.name == "attention_mask" for source in self.sources)
        return [*super().functions, CrossAttention if has_mask else CrossAttentionToAll]

    def _encoded(self, sources: dict[str, torch.Tensor]) -> _Encoded:
        """Run the encoder, and make of it what each decoder layer reads.

        HF's layers would compute keys and values, too, but shape them by the batch of the
        decoder's tokens; what depends on those cannot leave the loops.
        """
        with self._attending_by_itself():
            hidden = self.adapter.encode(self.model, sources)
        layers = []
        for k, v in self.adapter.cross_attention(self.model):
            keys, values = self._heads(k(hidden)), self._heads(v(hidden))
            if not self._attends_by_itself:
                keys = keys.transpose(-1, -2)
            layers.append(_CrossLayer(keys, values))
        mask = sources.get("attention_mask")
        if self._attends_by_itself:
            return _Encoded(hidden, layers, None, mask)
        bias = None
        if mask is not None:
            masked = torch.finfo(hidden.dtype).min
            bias = torch.where(mask[:, None, None, :] == 0, masked, 0.0)
        return _Encoded(hidden, layers, bias)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, source, H * D]`` -> ``[B, H, source, D]``."""
        heads = self.geometry.num_kv_heads
        return x.view(*x.shape[:2], heads, x.shape[2] // heads).transpose(1, 2)

    @contextmanager
    def _attending_by_itself(self) -> Iterator[None]:
        """An encoder runs once, by the model's own code."""
        named = [(config, config._attn_implementation) for config, _ in self._own_attention]
        for config, _ in named:
            config._attn_implementation = "eager"
        try:
            yield
        finally:
            for config, implementation in named:
                config._attn_implementation = implementation

    def _attention_over(self, cache: Any) -> Callable[..., tuple[torch.Tensor, None]]:
        own = super()._attention_over(cache)

        def attention(
            module: torch.nn.Module,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            attention_mask: torch.Tensor,
            **given: Any,
        ) -> tuple[torch.Tensor, None]:
            layer: Any = module.layer_idx
            crossed = cache.crossed(layer, key)
            if crossed is None:
                return own(module, query, key, value, attention_mask, **given)
            asked = asked_by(module, query, value, given, causal=False)
            if asked.window is not None or asked.sinks is not None:
                raise AdapterError(
                    f"{type(module).__name__} asks more of cross-attention than a scale and a soft "
                    "cap: a window or sinks, which an exported decoder does not do",
                    "this checkpoint cannot be exported",
                )
            attended = _crossed_attention(query, crossed, asked, cache.cross_attention_cache.bias)
            return attended.transpose(1, 2).contiguous(), None

        return attention

    def base_inputs(self) -> dict[str, Any]:
        """Zeros and ones of every shape that is traced, those of the sources first."""
        sizes = {
            "batch": BATCH,
            "source_len": self.adapter.traced_source_len(self.config),
        }
        sources = [
            torch.ones(
                [axis if isinstance(axis, int) else sizes[axis] for axis in source.axes],
                dtype=torch.long if source.integer else torch.float32,
            )
            for source in self.sources
        ]
        return {"sources": sources, **super().base_inputs()}
