"""What an architecture has to say about itself: the adapter.

An adapter is small because one traced decoder contract serves every
architecture (``beamgen.decoder.contract``). It names the Hugging Face classes
it stands for, gives the shape of the KV cache, and swaps the few layers that do
not trace well. Everything else has a default that reads the attribute names HF
configs share.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from beamgen.errors import AdapterError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


#: Sizes of a tiny model, by the names that most configs share.
TINY_SIZES = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 96,
    "max_position_embeddings": 256,
}
#: Its special tokens.
TINY_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


@dataclass(frozen=True)
class KVGeometry:
    """Shape of a model's past: ``num_layers`` pairs of ``[B, Hkv, C, D]``, and states.

    Attributes:
        num_layers: L, of those that attend.
        num_kv_heads: Hkv (fewer than the query heads under GQA).
        head_dim: D.
        value_dim: D of the values, where it is another than the keys'; else None.
        states: what each beam carries besides, of a size that does not grow: the shape of
            each tensor, without the axes of rows and beams.
    """

    num_layers: int
    num_kv_heads: int
    head_dim: int
    value_dim: int | None = None
    states: tuple[tuple[int, ...], ...] = ()

    @property
    def widths(self) -> tuple[int, int]:
        """D of the keys and of the values."""
        return self.head_dim, self.value_dim or self.head_dim


@dataclass(frozen=True)
class PositionLimits:
    """How long a sequence (padded prompt + generated tokens) may be.

    Attributes:
        max_positions: positions the model has; HF fails or degrades beyond.
        recompute_boundary: a length at which HF throws its cache away and
            computes every position anew (LongRoPE's switch of factors), or
            None. One graph cannot do that, so a generation has to lie wholly on
            one side.
        attention_window: a token sees itself and the ``attention_window - 1``
            slots before it (sliding window attention), or None for all.

    Raises:
        AdapterError: one of them is no number, which a config may say.
    """

    max_positions: int
    recompute_boundary: int | None = None
    attention_window: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no number of positions, or more than a graph can count."""
        for name, value in vars(self).items():
            optional = name != "max_positions" and value is None
            if not optional and not (isinstance(value, int) and abs(value) < 2**62):
                raise AdapterError(
                    f"the config gives {value!r:.60} for {name}",
                    "correct config.json, or download the checkpoint again",
                )

    def room(self, prompt_len: int) -> int:
        """How many tokens may follow a prompt; 0 or less where it is too long."""
        boundary = self.recompute_boundary
        if boundary is not None and prompt_len <= boundary:
            return boundary - prompt_len
        return self.max_positions - prompt_len


def cache_keyword(model: PreTrainedModel) -> str:
    """What a model calls its cache: ``cache`` since transformers 5.24, before ``past_key_values``.

    Its outputs call it the same.
    """
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _release(version: str) -> list[int]:
    """Major and minor."""
    return [int(part) for part in version.split(".")[:2]]


def hands_masks_on(backbone: PreTrainedModel) -> bool:
    """Whether a backbone hands a 4-D mask, additive, to its layers as it is.

    Its code then makes masks with ``transformers.masking_utils``, as all that transformers 5 has
    written anew does; older code inverts what it is given.
    """
    return hasattr(sys.modules[type(backbone).__module__], "create_causal_mask")


def routed(
    hidden: torch.Tensor,
    index: torch.Tensor,
    weights: torch.Tensor,
    experts: Iterable[Callable[[torch.Tensor], torch.Tensor]],
) -> torch.Tensor:
    """What a router's experts give, ``[T, hidden]``, in a form that a trace can hold.

    Each expert computes its own tokens, maybe none.

    Args:
        hidden: of T tokens, ``[T, hidden]``.
        index: int64 ``[T, k]``, the experts of each token.
        weights: float ``[T, k]``, of what they give.
        experts: all of them, in order.
    """
    import torch

    found = torch.zeros_like(hidden)
    for number, expert in enumerate(experts):
        token, choice = torch.where(index == number)
        given = expert(hidden[token]) * weights[token, choice, None]
        found = found.index_add(0, token, given.to(hidden.dtype))
    return found


class DecoderAdapter:
    """Wraps one decoder-only architecture of ``transformers`` for export.

    Subclass it in a file of your own, decorate it with
    ``beamgen.registry.register`` and name the module in your distribution's
    ``beamgen.adapters`` entry points. ``beamgen.testing.check_adapter`` tells
    whether it holds the contract.

    Attributes:
        name: the adapter's short name, e.g. ``biogpt``.
        model_type: ``config.model_type`` of its checkpoints.
        class_names: HF class names that users may type; the last-layer
            ``...ForCausalLM`` class and its backbone, e.g. ``BioGptModel``.
        demo: folder of an embedded demo checkpoint, or None.
        held_out: a text file, one text a line, that the demo checkpoint did not see; or None.
        genai_type: ``model.type`` of a ``genai_config.json``. All decoders have one
            layout here, which onnxruntime-genai runs as ``decoder``; another type only
            serves a tool that asks for it, and has to read that layout, too.
        counts_padding: whether ``generate`` gives the model no ``position_ids``, so that
            its positions count a batch's padding.
        attention: which of transformers' attentions computes what the models were trained with,
            where the two give other logits: ``eager``, the model's own code, or ``sdpa``.
        fused: layers that other models have as several, each with those in the order of its
            outputs, of which all but the first are of one size:
            ``{"qkv_proj": ("q_proj", "k_proj", "v_proj")}``. A LoRA of theirs fits then.
        implied: keys of ``config.json`` that some release of transformers does not read, with the
            value that the class has no other for: ``{"position_embedding_type": "absolute"}``.
        since: the first release of transformers tested here that has its classes.
        until: the last one whose classes compute what checkpoints were trained for, where a
            later one does not; or None.
        tiny_sizes: what the config of a tiny model has, in the class's own names, besides
            ``TINY_SIZES`` as far as the class has those names, and ``TINY_TOKENS``.
        full_sizes: what the config of a checkpoint that people use has, which
            ``beamgen bench --shape NAME`` fills with random weights; None: no such shape.
    """

    name: ClassVar[str]
    model_type: ClassVar[str]
    class_names: ClassVar[tuple[str, ...]]
    demo: ClassVar[Path | None] = None
    held_out: ClassVar[Path | None] = None
    genai_type: ClassVar[str] = "decoder"
    counts_padding: ClassVar[bool] = False
    attention: ClassVar[str] = "eager"
    fused: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    implied: ClassVar[Mapping[str, object]] = MappingProxyType({})
    since: ClassVar[str] = "4.57"
    until: ClassVar[str | None] = None
    tiny_sizes: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    full_sizes: ClassVar[Mapping[str, Any] | None] = None

    @property
    def needs(self) -> str | None:
        """The release of transformers to install, where an older or a later one will not do."""
        try:
            installed = _release(metadata.version("transformers"))
        except metadata.PackageNotFoundError:
            return None
        if installed < _release(self.since):
            return self.since
        return self.until if self.until and installed > _release(self.until) else None

    def tiny_config(self) -> PretrainedConfig:
        """A config of at most some 100,000 parameters for the conformance suite.

        Two layers or more, a vocabulary of some hundred tokens, at least 64
        positions, and ``bos``/``eos``/``pad`` ids inside the vocabulary: by default
        ``tiny_sizes`` in the config class of ``model_type``.
        """
        config_class = self._config_class()
        taken = inspect.signature(config_class.__init__).parameters
        shared = {name: size for name, size in TINY_SIZES.items() if name in taken}
        return config_class(**{**shared, **TINY_TOKENS, **self.tiny_sizes})

    def full_config(self) -> PretrainedConfig | None:
        """A config of the size that people use: ``full_sizes``, or None where those are.

        With ``bos``/``eos``/``pad`` ids, as ``tiny_config``. The speed of a search depends on
        shapes alone.
        """
        return None if self.full_sizes is None else self._config_class()(**self.full_sizes)

    def _config_class(self) -> type[PretrainedConfig]:
        from transformers import CONFIG_MAPPING, __version__

        if self.model_type not in CONFIG_MAPPING:
            raise AdapterError(
                f"transformers {__version__} has no config of model_type '{self.model_type}', "
                f"which '{self.name}' names",
                "correct model_type, or define tiny_config with the config's class",
            )
        found: type[PretrainedConfig] = CONFIG_MAPPING[self.model_type]
        return found

    def kv_geometry(self, config: PretrainedConfig) -> KVGeometry:
        """Shape of the KV cache, from the attribute names HF configs share."""
        heads = config.num_attention_heads
        return KVGeometry(
            num_layers=config.num_hidden_layers,
            num_kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        )

    def position_limits(self, config: PretrainedConfig) -> PositionLimits:
        """How long a sequence may be; by default ``max_position_embeddings``.

        The window is one that all layers keep; what single layers keep is theirs to say when
        they attend.
        """
        kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
        everywhere = all(kind == "sliding_attention" for kind in kinds)
        return PositionLimits(
            max_positions=config.max_position_embeddings,
            # 0 stands where the class has no window and does not read it
            attention_window=(getattr(config, "sliding_window", None) or None)
            if everywhere
            else None,
        )

    def prepare(self, model: PreTrainedModel) -> None:
        """Swap, in place, layers that trace badly for equal ones that trace well.

        The model handed in is the exporter's own and is thrown away after the
        trace; parity is judged against a freshly loaded one.
        """

    def forward(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_bias: torch.Tensor,
        cache: Any,
    ) -> torch.Tensor:
        """Hidden states ``[B, N, hidden]`` of N new tokens per row.

        Args:
            model: the HF model with its language-modelling head.
            input_ids: int64 ``[B, N]``.
            position_ids: int64 ``[B, N]``, given by the search graph.
            attention_bias: float ``[B, 1, N, S+R+N]``, additive; HF models take
                a 4-D mask as it is (``transformers.masking_utils``).
            cache: takes each layer's new keys and values (``Cache.update``). Its ``seq_len``,
                an int64 scalar or None, is the largest position of the whole prompt and 1,
                where the tokens are a piece of one; None: of ``position_ids``. Of a model
                with states it has ``states``, ``[B, G, ...]`` each, to be replaced: the N
                tokens are G runs of N / G, one behind each state. The prompt is one run,
                and of beams each token is one. ``token_mask``, int64 ``[B, N]``, is 0 on
                padding, behind which a state has to be as if it were not there.
        """
        backbone = model.base_model
        if backbone is model:  # its class names another backbone than it has
            backbone = model.get_decoder()
        output = backbone(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=attention_bias,
            use_cache=True,
            **{cache_keyword(backbone): cache},
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden


def check_stateless(adapter: DecoderAdapter, config: PretrainedConfig, reader: str) -> None:
    """Refuse a model with states for what knows a past of keys and values alone.

    Raises:
        AdapterError: its beams carry states.
    """
    if adapter.kv_geometry(config).states:
        raise AdapterError(
            f"each beam of '{adapter.name}' carries states besides keys and values, "
            f"for which there is no place in {reader}",
            "use the file that `beamgen export` writes by default, with the loop backend",
        )
