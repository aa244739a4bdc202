"""What an encoder-decoder has to say about itself, besides what every decoder has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from beamgen.adapter import DecoderAdapter, KVGeometry, cache_keyword

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class Source:
    """What an encoder reads: an input of the file, under HF's name.

    Attributes:
        name: the encoder's argument, e.g. ``input_ids``.
        meaning: one line for tables and viewers.
        axes: a size for each axis: a number, or the name of a dynamic one; ``batch`` first.
        integer: whether it is int64; else it is float32.
    """

    name: str
    meaning: str
    axes: tuple[int | str, ...]
    integer: bool = True


#: A padded text, whose ids processors read as well.
TEXT = (
    Source("input_ids", "what the encoder reads, padded on either side", ("batch", "source_len")),
    Source("attention_mask", "0 on padding, 1 on text", ("batch", "source_len")),
)


@dataclass(frozen=True)
class TaskTokens:
    """Tokens of a decoder's prompt that say what is wanted, as generation configs name them.

    Attributes:
        languages: ids by code, ``{"en": 50259}``; none where there is one language.
        language_names: codes by other words for them, ``{"english": "en"}``.
        tasks: ids by name, ``{"transcribe": 50359}``.
        no_timestamps: the id that asks for no times, or None.
        forced: ids that follow the start token where neither language nor task is given, HF's
            ``forced_decoder_ids``; None in place of a language that is to be detected.
        multilingual: whether a language and a task may be given.
        language: the code of the default, or None.
        task: the name of the default, or None.
    """

    languages: Mapping[str, int]
    language_names: Mapping[str, str]
    tasks: Mapping[str, int]
    no_timestamps: int | None = None
    forced: tuple[int | None, ...] = ()
    multilingual: bool = True
    language: str | None = None
    task: str | None = None


def example_features(
    sources: Iterable[Source], rows: int, seed: int = 1
) -> dict[str, npt.NDArray[np.float32]]:
    """Random sources of those kinds that are no text, by name: float32, of one size each."""
    dice, found = np.random.default_rng(seed), {}
    for each in sources:
        sizes = [size for size in each.axes[1:] if isinstance(size, int)]
        if not each.integer:
            found[each.name] = dice.normal(size=(rows, *sizes)).astype(np.float32)
    return found


class Seq2SeqAdapter(DecoderAdapter):
    """Wraps one encoder-decoder of ``transformers`` for export.

    The encoder and a step of the decoder are traced as one graph. What depends on the sources
    alone, the encoder and each layer's cross-attention keys and values, is lifted out of
    the search's loops and computed once a row. The defaults are those of BART's kin.

    ``forward`` is what a decoder's is; its cache holds besides what was encoded,
    ``cache.encoded [B, source, hidden]``, and is an ``EncoderDecoderCache`` whose
    cross-attention keys and values are there already. ``cache.encoder_attention_mask`` is the
    sources' ``[B, source]`` where a model attends by itself, else None: it is done then.

    Attributes:
        prepends_start: whether ``generate`` puts ``decoder_start_token_id`` before decoder
            prompts that lack it.
        generation_fields: fields of a generation config that ``task_tokens`` reads, or that
            are of what a class of HF does around a search; others that a file does not honour
            are refused.
    """

    prepends_start: ClassVar[bool] = True
    generation_fields: ClassVar[frozenset[str]] = frozenset()

    def sources(self, config: PretrainedConfig) -> tuple[Source, ...]:
        """The file's inputs; by default a padded text."""
        del config
        return TEXT

    def source_positions(self, config: PretrainedConfig) -> int | None:
        """The longest source that the encoder has positions for; None where any will do."""
        positions: int | None = getattr(config, "max_position_embeddings", None)
        return positions

    def traced_source_len(self, config: PretrainedConfig) -> int:
        """How long the source is that is traced: any other has to be encoded alike.

        A trace holds one side of each branch. An encoder that pads its sources or divides them
        into blocks should do all of it with this one.
        """
        del config
        return 7

    def task_tokens(
        self, generation_config: GenerationConfig, config: PretrainedConfig
    ) -> TaskTokens | None:
        """The tokens by which a decoder's prompt asks for a language or a task, or None.

        Raises:
            AdapterError: the generation config names them in a way that makes no sense.
        """
        del generation_config, config
        return None

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """Shape of the decoder's cache for its own tokens."""
        heads = config.decoder_attention_heads
        return KVGeometry(config.decoder_layers, heads, config.d_model // heads)

    def encode(self, model: PreTrainedModel, sources: dict[str, torch.Tensor]) -> torch.Tensor:
        """The encoder's hidden states ``[B, source, hidden]``."""
        hidden: torch.Tensor = model.get_encoder()(**sources).last_hidden_state
        return hidden

    def cross_attention(self, model: PreTrainedModel) -> list[tuple[Any, Any]]:
        """The layers that make keys and values of what was encoded, for each decoder layer."""
        crossing = [layer.encoder_attn for layer in model.get_decoder().layers]
        return [(each.k_proj, each.v_proj) for each in crossing]

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """Hidden states ``[B, N, hidden]`` of N new tokens per row, at the positions given.

        HF counts positions from what its cache holds; siblings are not one after the other.
        """
        decoder = model.get_decoder()
        self.place(decoder, input_ids, position_ids)
        given = {cache_keyword(decoder): cache}
        if cache.encoder_attention_mask is not None:  # which not every decoder takes
            given["encoder_attention_mask"] = cache.encoder_attention_mask
        output = decoder(
            input_ids=input_ids,
            attention_mask=attention_bias,
            encoder_hidden_states=cache.encoded,
            use_cache=True,
            **given,
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def place(self, decoder: Any, input_ids: torch.Tensor, position_ids: torch.Tensor) -> None:
        """Let the decoder embed these positions ``[B, N]``, by a table that may have an offset."""
        del input_ids
        table = decoder.embed_positions
        offset = getattr(table, "offset", 0)
        table.forward = lambda *_, **__: table.weight[position_ids + offset]
